"""A page as the tests look at it: its elements, and whether they are properly nested."""

from dataclasses import dataclass, field
from html.parser import HTMLParser

VOID = {"meta", "link", "br", "img", "hr", "input"}


@dataclass
class Element:
    name: str
    attributes: dict[str, str | None]
    parent: "Element | None"
    text: str = ""
    children: list["Element"] = field(default_factory=list)

    def all(self, name: str) -> list["Element"]:
        """Elements of a name below this one."""
        below = [found for child in self.children for found in child.all(name)]
        return [child for child in self.children if child.name == name] + below

    @property
    def full_text(self) -> str:
        return self.text + "".join(child.full_text for child in self.children)


class Page(HTMLParser):
    """Builds the tree and fails on an end tag that does not fit, as no browser does."""

    def __init__(self, text: str):
        super().__init__()
        self.root = Element("", {}, None)
        self.open = self.root
        self.feed(text)
        self.close()
        assert self.open is self.root, f"<{self.open.name}> is not closed"

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        names = [name for name, _ in attrs]
        assert len(names) == len(set(names)), f"an attribute twice in <{tag}>"
        element = Element(tag, dict(attrs), self.open)
        self.open.children.append(element)
        if tag not in VOID:
            self.open = element

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.handle_starttag(tag, attrs)
        self.handle_endtag(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.open.name == tag, f"</{tag}> closes <{self.open.name}> at {self.getpos()}"
        self.open = self.open.parent

    def handle_data(self, data: str) -> None:
        self.open.text += data

    def all(self, name: str) -> list[Element]:
        return self.root.all(name)

    def every(self) -> list[Element]:
        """All elements."""
        waiting, found = [self.root], []
        while waiting:
            element = waiting.pop()
            found += element.children
            waiting += element.children
        return found
