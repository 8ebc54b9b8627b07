"""YAML as configuration files are read: nothing is lost without a word, and no code is run."""

from collections.abc import Hashable
from typing import Any

import yaml

_MERGE = "tag:yaml.org,2002:merge"


class _Loader(yaml.SafeLoader):
    """Safe YAML in which a repeated key is an error instead of the last one winning.

    ``<<`` merges other maps; a key beside it wins over theirs, and is not repeated.
    """

    def __init__(self, stream: str) -> None:
        super().__init__(stream)
        self._flattened: dict[int, yaml.MappingNode] = {}

    def flatten_mapping(self, node: yaml.MappingNode) -> None:
        """Put what ``<<`` merges before the keys that are written beside it, which win.

        Of a list of maps the first wins.  PyYAML's own way is not called: one release of it lets
        the last win, and a merged map's key lose to the one that it replaces.
        """
        # A merged map is flattened before its own turn comes, and again then: its keys and those
        # that it merges are in one list afterwards, so only the first look tells them apart.
        if id(node) in self._flattened:
            return
        self._flattened[id(node)] = node
        self._refuse_repeated_keys(node)
        merges = [value for key, value in node.value if key.tag == _MERGE]
        node.value = [pair for pair in node.value if pair[0].tag != _MERGE]
        merged: list[tuple[yaml.Node, yaml.Node]] = []
        for value in merges:
            sources = value.value if isinstance(value, yaml.SequenceNode) else [value]
            for source in reversed(sources):
                if not isinstance(source, yaml.MappingNode):
                    raise yaml.constructor.ConstructorError(
                        None, None, "<< merges a map or a list of maps", source.start_mark
                    )
                self.flatten_mapping(source)
                merged += source.value
        node.value = merged + node.value

    def _refuse_repeated_keys(self, node: yaml.MappingNode) -> None:
        seen: set[Hashable] = set()
        for key_node, _ in node.value:
            if key_node.tag == _MERGE:
                key: Any = "<<"
            else:
                key = self.construct_object(key_node, deep=True)
            if not isinstance(key, Hashable):
                continue  # refused by the base class
            if key in seen:
                raise yaml.constructor.ConstructorError(
                    None, None, f"the key {key!r} appears twice", key_node.start_mark
                )
            seen.add(key)


def _as_text(loader: _Loader, node: yaml.ScalarNode) -> str:
    return str(loader.construct_scalar(node))


# PyYAML tells `<<` and `=` from text and makes nothing of them; Helm, for one, writes no quotes.
for _tag in (_MERGE, "tag:yaml.org,2002:value"):
    _Loader.add_constructor(_tag, _as_text)


def load_yaml(text: str) -> Any:
    """What ``text`` holds.

    Raises:
        YAMLError: If it is no YAML, or a key appears twice in a map.
        ValueError: If a value is none of its kind, such as the 30th of February.
        RecursionError: If it is nested too deep.
    """
    return yaml.load(text, Loader=_Loader)  # noqa: S506 -- a SafeLoader
