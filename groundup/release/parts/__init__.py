"""How the results of the stages that measure a model are displayed, one file a stage."""
