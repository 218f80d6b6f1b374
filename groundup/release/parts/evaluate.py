"""The display of an evaluation: the figures of its suites, and the answers to the recipe's prompts."""

from groundup.core.tables import REPORTS
from groundup.evaluate.runner import Evaluation
from groundup.release.lineage import EVALUATION
from groundup.release.part import ReportPart

REPORTS.add(EVALUATION, ReportPart(lambda metrics, folder: Evaluation.from_json(metrics).display()))
