"""How models write calls of tools, one file a format; `CALL_FORMATS` finds that of a chat template."""
