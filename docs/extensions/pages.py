"""Pages whose links lead somewhere on GitHub lead there on the site, too: pages of the root are pages of the site."""

import re

ROOT_PAGES = {"README": "index", "CONTRIBUTING": "contributing", "CHANGELOG": "changelog"}


def relinked(text: str, in_root: bool = False) -> str:
    """Markdown with links as the site has them, of a page in the root or in docs."""
    text = re.sub(rf"\]\((?:\.\./)*({'|'.join(ROOT_PAGES)})\.md", lambda link: f"](/{ROOT_PAGES[link[1]]}.md", text)
    return text.replace("](docs/", "](/").replace("](LICENSE)", "](/../LICENSE)") if in_root else text


def setup(app):
    app.connect("source-read", lambda app, name, text: text.__setitem__(0, relinked(text[0])))
    app.connect("include-read", lambda app, path, name, text: text.__setitem__(0, relinked(text[0], in_root=True)))
    return {"parallel_read_safe": True}
