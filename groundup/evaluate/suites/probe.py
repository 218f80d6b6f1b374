"""Suite: the class of held-out images by an attentive probe of the model's frozen states."""

from dataclasses import dataclass, field

from groundup.core import units
from groundup.core.tables import SUITES
from groundup.evaluate.attentive_probe import IMAGES, probe
from groundup.evaluate.classification import labelled
from groundup.evaluate.display import Display, Table, interval
from groundup.evaluate.figure import Figure
from groundup.evaluate.suite import Suite, SuiteInputs
from groundup.evaluate.texts import conversations


@dataclass(frozen=True)
class Probe:
    """The accuracy of the probe by source."""

    probe: dict[str, Figure] = field(default_factory=dict)


def measure(inputs: SuiteInputs) -> Probe:
    """Train and test a probe on each source of images with classes."""

    found = {}
    for name, file, classes in labelled(inputs):
        training, heldout = (conversations(file, part, IMAGES, images=True) for part in (False, True))
        if accuracy := probe(inputs.engine, training, heldout, classes, inputs.advance):
            found[name] = accuracy
    return Probe(found)


def display(result: Probe) -> Display:
    """A row a source."""
    rows = [[source, units.number(figure.n), interval(figure)] for source, figure in result.probe.items()]
    return Display(tables=[Table("Attentive probe of frozen states", ("source", ">images", ">accuracy"), rows)])


SUITES.add(
    "probe",
    Suite(1, Probe, measure, display, "no source has training and held-out images with classes", image_inputs=True),
)
