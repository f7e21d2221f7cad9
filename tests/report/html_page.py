"""What the tests of pages share."""

import base64
import hashlib
import re
from html.parser import HTMLParser

VOID = {"meta", "link", "br", "img", "wbr"}


class Page(HTMLParser):
    """A page as a browser takes it apart; refuses tags that do not match."""

    def __init__(self, html):
        super().__init__()
        self.open, self.tags, self.text, self.cells, self.missing = [], [], "", [], []
        self.feed(str(html))
        self.close()
        assert self.open == []

    def handle_starttag(self, tag, attrs):
        self.tags.append((tag, dict(attrs)))
        if tag not in VOID:
            self.open.append(tag)
        if tag in ("td", "th"):
            self.cells.append("")
        if ("class", "missing") in attrs:
            self.missing.append("")

    def handle_startendtag(self, tag, attrs):
        self.tags.append((tag, dict(attrs)))

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        if {"style", "script"} & set(self.open):
            return
        self.text += data
        if {"td", "th"} & set(self.open) and "svg" not in self.open:
            self.cells[-1] += data
        if self.open[-2:] == ["p", "code"]:
            self.missing[-1] += data

    def attributes(self, *names):
        return [value for _, attrs in self.tags for name, value in attrs.items() if name in names]


def only_its_own_script_may_run(html):
    """One script, and the policy names its hash and nothing else that may run or be loaded."""
    (script,) = re.findall("<script>(.*?)</script>", html, re.DOTALL)
    digest = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
    (policy,) = re.findall(r'"Content-Security-Policy"\s+content="(.*?)"', html)
    rules = "default-src 'none'; img-src data:; style-src 'unsafe-inline'; "
    return policy == f"{rules}script-src 'sha256-{digest}'" and not re.search(r"<script[^>]|\son\w+=|javascript:", html)


def loads_nothing(html):
    """Every address is inside the file."""
    addresses = Page(html).attributes("src", "href", "srcset", "action", "data", "xlink:href")
    return all(at.startswith(("data:", "#")) for at in addresses) and not re.search(
        r"https?:|url\(|@import|<iframe", html
    )
