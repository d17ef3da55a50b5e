"""From a mask's spelling in YAML to the model's mask."""

from __future__ import annotations

from collections.abc import Mapping
from decimal import Decimal
from itertools import pairwise

from datagate.model.mask import Mask, MaskKind, MaskOption
from datagate.policy.document import Node
from datagate.policy.predicate import NamesInSight, PredicateReader, read_predicate
from datagate.policy.report import Report
from datagate.policy.shapes import HashShape, IpPrefixShape, MaskShape, PseudonymShape

Options = tuple[tuple[str, MaskOption], ...]


class MaskCompiler:
    """Makes masks for one relation's columns."""

    def __init__(self, names: NamesInSight, reader: PredicateReader, report: Report) -> None:
        self._names = names
        self._reader = reader
        self._report = report

    def mask(self, spelling: str | MaskShape | None, node: Node, tag: str) -> Mask | None:
        """The mask for a column with that tag; None, with the problem reported, if it is wrong."""
        if spelling is None:
            return Mask(MaskKind.NULL, (), node.source)
        if isinstance(spelling, str):
            kind = MaskKind(spelling)
            options: Options = _pseudonym(PseudonymShape(), tag) if kind is MaskKind.PSEUDONYM else ()
            return Mask(kind, options, node.source)
        (field,) = spelling.model_fields_set
        kind = MaskKind(field.rstrip("_"))
        found = self._options(spelling, kind, node.at(kind.value), tag)
        return None if found is None else Mask(kind, found, node.source)

    def _options(self, shape: MaskShape, kind: MaskKind, node: Node, tag: str) -> Options | None:
        match kind:
            case MaskKind.REDACT:
                return (("value", shape.redact or ""),)
            case MaskKind.KEEP_FIRST:
                return (("n", shape.keep_first or 0),)
            case MaskKind.KEEP_LAST:
                return (("n", shape.keep_last or 0),)
            case MaskKind.HASH:
                return (("key", (shape.hash or HashShape()).key),)
            case MaskKind.PSEUDONYM:
                return _pseudonym(shape.pseudonym or PseudonymShape(), tag)
            case MaskKind.TRUNCATE:
                return (("unit", shape.truncate or ""),)
            case MaskKind.ROUND:
                return (("to", shape.round or Decimal(1)),)
            case MaskKind.BUCKET:
                return self._edges(shape.bucket or [], node)
            case MaskKind.IP_PREFIX:
                prefix = shape.ip_prefix or IpPrefixShape()
                return (("v4", prefix.v4), ("v6", prefix.v6))
            case MaskKind.JSON:
                return self._paths(shape.json_ or {}, node, tag)
            case MaskKind.SQL:
                return self._sql(shape.sql or "", node)
            case MaskKind.HIDE | MaskKind.NULL | MaskKind.EMAIL | MaskKind.ZIP3:
                raise AssertionError(f"{kind} has no options")

    def _edges(self, edges: list[Decimal], node: Node) -> Options | None:
        if any(left >= right for left, right in pairwise(edges)):
            self._report.add(node.source, "edges that do not ascend; sort them, each once")
            return None
        return (("edges", tuple(edges)),)

    def _sql(self, text: str, node: Node) -> Options | None:
        predicate = read_predicate(text, node, self._names, self._reader, self._report)
        return None if predicate is None else (("expression", predicate.text),)

    def _paths(self, paths: Mapping[str, str | MaskShape | None], node: Node, tag: str) -> Options | None:
        found: dict[str, Mask] = {}
        for spelled, spelling in paths.items():
            entry = node.at(spelled)
            path = spelled.removeprefix("$.")
            mask = self.mask(spelling, entry, tag)
            if not all(path.split(".")) or path.startswith("$"):
                self._report.add(entry.key, f"{spelled!r} is not a path; write names with dots between: a.b")
            elif any(path == other or path.startswith(other + ".") or other.startswith(path + ".") for other in found):
                self._report.add(entry.key, f"path {spelled!r} lies on another one; keep one of them")
            elif mask is not None and mask.kind in {MaskKind.JSON, MaskKind.SQL}:
                self._report.add(entry.source, f"{mask.kind.value} inside of json; use another mask")
            elif mask is not None:
                found[path] = mask
        return (("paths", tuple(found.items())),) if len(found) == len(paths) else None


def _pseudonym(shape: PseudonymShape, tag: str) -> Options:
    return (("domain", shape.domain or tag), ("key", shape.key))
