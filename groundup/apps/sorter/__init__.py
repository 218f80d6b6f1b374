"""The sorter: detection, tracking and pick planning for a waste-sorting arm, orders, simulator and page."""

from groundup.core.tables import APPLICATIONS, Application

APPLICATIONS.add(
    "sorter",
    Application(
        commands="groundup.apps.sorter.cli",
        modules={
            "groundup.reports": {"line": "groundup.apps.sorter.report"},
            "groundup.stages": {"line": "groundup.apps.sorter.stage"},
            "groundup.suites": {"orders": "groundup.apps.sorter.orders_suite"},
            "groundup.sources": {
                "simulator": "groundup.apps.sorter.simulator_source",
                "orders": "groundup.apps.sorter.orders_source",
            },
        },
        recipe={"line": "groundup.apps.sorter.config:LinePart"},
    ),
)
