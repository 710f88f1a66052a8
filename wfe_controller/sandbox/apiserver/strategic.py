"""Strategic merge patch: a merge that knows which lists have keys, with its directives.

``patches`` is the way in. The schema says by ``x-kubernetes-patch-strategy`` and ``x-kubernetes-patch-merge-key`` how a
list is merged; only built-in kinds have that. The order of items in a merged list is part of the result, so the odd
corners of the real one are kept.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from wfe_controller.sandbox.apiserver.govalues import go_text
from wfe_controller.sandbox.apiserver.status import StatusError, bad_request
from wfe_controller.sandbox.apiserver.typed import reference

Json = dict[str, Any]
Items = list[Any]

_DIRECTIVE = "$patch"
_RETAIN = "$retainKeys"
_DELETE_FROM = "$deleteFromPrimitiveList"
_ORDER = "$setElementOrder"
_BAD_DELETE_LIST = "invalid patch format of primitive list"
_BAD_ORDER_LIST = "invalid patch format of setElementOrder list"
_BAD_RETAIN_KEYS = "invalid patch format of retainKeys"


def _failed(message: str) -> StatusError:
    """What the real server does not foresee comes out as a 500 without a reason."""
    return StatusError(500, "", message)


def _go_type(value: Any) -> str:
    if isinstance(value, bool):
        return "bool"
    if value is None:
        return "%!s(<nil>)"
    if isinstance(value, dict):
        return "map[string]interface {}"
    if isinstance(value, list):
        return "[]interface {}"
    return {int: "int64", float: "float64"}.get(type(value), "string")


def _bad_type(expected: Any, actual: Any) -> StatusError:
    return _failed(f"expected a {_go_type(expected)}, but received a {_go_type(actual)}")


def _no_key(item: Json, key: str) -> StatusError:
    return _failed(f"map: {go_text(item)} does not contain declared merge key: {key}")


def _same(one: Any, other: Any) -> bool:
    return type(one) is type(other) and bool(one == other)


class Merger:
    """Applies patches under the schemas of one set of definitions. Changes what it is given: hand it copies."""

    def __init__(self, definitions: Mapping[str, Json] | None = None) -> None:
        self._definitions = definitions or {}

    # -- schema --------------------

    def _resolved(self, schema: Json) -> Json:
        seen = reference(schema)
        return self._definitions.get(seen.rpartition("/")[2], {}) if seen else schema

    def _field(self, schema: Json, name: str) -> Json:
        """The schema of a field as it stands there, with its patch metadata; {} when nothing is known."""
        found = schema.get("properties", {}).get(name)
        if isinstance(found, dict):
            return found
        additional = schema.get("additionalProperties")
        return additional if isinstance(additional, dict) else {}

    @staticmethod
    def _strategy(field: Json) -> str:
        named = [part for part in str(field.get("x-kubernetes-patch-strategy", "")).split(",") if part != "retainKeys"]
        return named[0] if named else ""

    # -- maps --------------------

    def merge(self, original: Json, patch: Json, schema: Json) -> Json:
        """``patch`` laid over ``original``; raises StatusError with the real texts."""
        schema = self._resolved(schema)
        if _DIRECTIVE in patch:
            return self._directed(patch.pop(_DIRECTIVE), patch)
        self._retain(original, patch)
        self._ordered(original, patch, schema)
        for key, value in list(patch.items()):
            self._merge_field(original, key, value, schema)
        return original

    @staticmethod
    def _directed(directive: Any, patch: Json) -> Json:
        if directive == "replace":
            return patch
        if directive == "delete":
            return {}
        shown = go_text({_DIRECTIVE: directive, **patch})
        raise _failed(f"unknown patch type: {go_text(directive)} in map: {shown}")

    @staticmethod
    def _retain(original: Json, patch: Json) -> None:
        if _RETAIN not in patch:
            return
        kept = patch.pop(_RETAIN)
        if not isinstance(kept, list):
            raise bad_request(_BAD_RETAIN_KEYS)
        for key, value in patch.items():
            if value is not None and not key.startswith((_DELETE_FROM, _ORDER)) and key not in kept:
                raise bad_request(_BAD_RETAIN_KEYS)
        for key in [key for key in original if key not in kept]:
            del original[key]

    def _ordered(self, original: Json, patch: Json, schema: Json) -> None:
        """Merge every list that comes with an order of its items, and take both out of the patch."""
        for directive in [key for key in patch if key.startswith(_ORDER)]:
            order = patch.pop(directive)
            if not isinstance(order, list):
                raise _bad_type([], order)
            prefix, slash, key = directive.partition("/")
            if prefix != _ORDER or not slash:
                raise bad_request(_BAD_ORDER_LIST)
            live, new = original.get(key), patch.get(key)
            for present, value in ((key in original, live), (key in patch, new)):
                if present and not isinstance(value, list):
                    raise _bad_type([], value)
            field = self._field(schema, key)
            if not field and schema.get("properties"):
                struct = str(schema.get("x-definition", "")).rpartition(".")[2]
                raise _failed(f'unable to find api field in struct {struct} for the json field "{key}"')
            merge_key = str(field.get("x-kubernetes-patch-merge-key", ""))
            if live is None and new is None:
                continue
            _check_order(new or [], order, merge_key)
            if new is None:
                merged: Items = list(live or [])
            elif live is None:
                merged = _without_directives(new)[0]
            else:
                merged = self._merge_lists(live, new, field)
            items, others = _partition(merged, order, merge_key)
            if not (live or new):
                raise _failed("no elements in any of the given slices")
            keyed = isinstance((live or new or [None])[0], dict)
            original[key] = _in_order(items, others, order, live or [], merge_key if keyed else "", keyed)
            patch.pop(key, None)

    def _merge_field(self, original: Json, key: str, value: Any, schema: Json) -> None:
        deletes = key.startswith(_DELETE_FROM)
        if deletes:
            prefix, slash, key = key.partition("/")
            if prefix != _DELETE_FROM or not slash:
                raise bad_request(_BAD_DELETE_LIST)
        if value is None:
            original.pop(key, None)
            return
        if key not in original or _go_type(original[key]) != _go_type(value):
            if not deletes:
                _discard_nulls(value)
                kept, keep = _without_directives(value)
                original.pop(key, None)
                if keep:
                    original[key] = kept
            return
        field = self._field(schema, key)
        if isinstance(value, dict):
            replaces = self._strategy(field) == "replace"
            original[key] = value if replaces else self.merge(original[key], value, field)
        elif isinstance(value, list):
            if deletes:
                original[key] = [item for item in original[key] if not any(_same(item, gone) for gone in value)]
            else:
                original[key] = self._merge_lists(original[key], value, field)
        else:
            original[key] = value

    # -- lists --------------------

    def _merge_lists(self, original: Items, patch: Items, field: Json) -> Items:
        if self._strategy(field) != "merge":
            return patch
        if not original and not patch:
            return original
        keyed = _element_kind(original, patch)
        key = str(field.get("x-kubernetes-patch-merge-key", ""))
        if not keyed:
            merged: Items = []
            for item in original + patch:
                if not any(_same(item, known) for known in merged):
                    merged.append(item)
            items, others = _partition(merged, patch, "")
            return _in_order(items, others, patch, original, "", False)
        if not key:
            raise _failed(f"cannot merge lists without merge key for {field.get('x-definition', '')}")
        before, patch = self._special(original, patch, key)
        merged = self._merge_items(list(before), patch, key, field.get("items") or {})
        if patch:
            # In Go the new items take the room that deleted ones left in the live list, whose order is asked later.
            for place in range(len(before), min(len(merged), len(original))):
                original[place] = merged[place]
        items, others = _partition(merged, patch, key)
        return _in_order(items, others, patch, before, key, True)

    @staticmethod
    def _special(live: Items, patch: Items, key: str) -> tuple[Items, Items]:
        """The live items that stay and the items to merge. ``live`` is left as Go leaves the array below a slice: what
        stays at its front, its old end behind that.
        """
        original = list(live)
        plain: Items = []
        replaces = False
        for item in patch:
            directive = item.get(_DIRECTIVE)
            if _DIRECTIVE not in item:
                plain.append(item)
            elif directive == "delete":
                if key not in item:
                    raise _no_key(item, key)
                original = [other for other in original if not (key in other and _same(other[key], item[key]))]
                live[: len(original)] = original
            elif directive == "replace":
                replaces = True
            elif directive == "merge":
                raise _failed("merging lists cannot yet be specified in the patch")
            else:
                raise _failed(f"unknown patch type: {go_text(directive)} in map: {go_text(item)}")
        return (plain, []) if replaces else (original, plain)

    def _merge_items(self, original: Items, patch: Items, key: str, schema: Json) -> Items:
        for item in patch:
            if key not in item:
                raise _no_key(item, key)
            place = _index(original, item, lambda one: one.get(key))
            if place >= 0:
                original[place] = self.merge(original[place], item, schema)
            else:
                original.append(item)
        return original


def _element_kind(*lists: Items) -> bool:
    """Whether the items are maps; they must all be of one type, and no lists."""
    kinds = {_go_type(item) for items in lists for item in items}
    if "[]interface {}" in kinds:
        raise StatusError(422, "Invalid", "the server rejected our request due to an error in our request", {})
    if len(kinds) > 1:
        raise _failed(f"list element types are not identical: {go_text(list(lists))}")
    return kinds == {"map[string]interface {}"}


def _discard_nulls(value: Any) -> None:
    if isinstance(value, dict):
        for key in [key for key, item in value.items() if item is None]:
            del value[key]
        for item in value.values():
            _discard_nulls(item)
    elif isinstance(value, list):
        for item in value:
            _discard_nulls(item)


def _without_directives(value: Any) -> tuple[Any, bool]:
    """The value without maps that carry a directive, and whether it is to be kept at all."""
    if isinstance(value, dict):
        if _DIRECTIVE in value:
            return None, False
        kept = {key: _without_directives(item) for key, item in value.items()}
        return {key: item for key, (item, keep) in kept.items() if keep}, True
    if isinstance(value, list):
        return [item for item, keep in map(_without_directives, value) if keep], True
    return value, True


# -- the order of items --------------------


def _index(items: Items, wanted: Any, of: Callable[[Any], Any]) -> int:
    target = of(wanted)
    for place, item in enumerate(items):
        if _same(of(item), target):
            return place
    return -1


def _key_of(key: str, keyed: bool) -> Callable[[Any], Any]:
    if not keyed:
        return lambda item: item
    return lambda item: item.get(key) if isinstance(item, dict) else None


def _check_order(patch: Items, order: Items, key: str) -> None:
    """The items of a patch must stand in the order that comes with it, and all be in it."""
    if not patch or not order:
        return
    if key:
        patch = [item for item in patch if not (isinstance(item, dict) and item.get(_DIRECTIVE) == "delete")]
    done = place = 0
    while done < len(patch) and place < len(order):
        item = patch[done]
        if isinstance(item, dict) and _DIRECTIVE in item:
            done += 1
            continue
        if key:
            for one in (item, order[place]):
                if not isinstance(one, dict):
                    raise _bad_type({}, one)
                if key not in one:
                    raise _no_key(one, key)
            equal = _same(item[key], order[place][key])
        else:
            equal = _same(item, order[place])
        done += equal
        place += 1
    if done < len(patch):
        raise _failed(f"The order in patch list:\n{go_text(patch)}\n doesn't match {_ORDER} list:\n{go_text(order)}\n")


def _partition(merged: Items, by: Items, key: str) -> tuple[Items, Items]:
    """Items that stand in ``by`` and the others."""
    inside: Items = []
    outside: Items = []
    for item in merged:
        if key:
            if not isinstance(item, dict):
                raise _bad_type({}, item)
            if key not in item:
                raise _no_key(item, key)
            found = any(isinstance(one, dict) and key in one and _same(one[key], item[key]) for one in by)
        else:
            found = any(_same(item, one) for one in by)
        (inside if found else outside).append(item)
    return inside, outside


def _sorted(items: Items, order: Items, of: Callable[[Any], Any]) -> Items:
    # An insertion sort with the real comparison, in which an item without a place goes before every other.
    out = list(items)
    for start in range(1, len(out)):
        place = start
        while place > 0:
            left, right = _index(order, out[place - 1], of), _index(order, out[place], of)
            if left >= 0 and right >= 0 and right >= left:
                break
            out[place - 1], out[place] = out[place], out[place - 1]
            place -= 1
    return out


def _in_order(items: Items, others: Items, order: Items, live: Items, key: str, keyed: bool) -> Items:
    """Items of the patch in its order, the server's own ones put between them by the live order."""
    of = _key_of(key, keyed)
    left, right = _sorted(others, live, of), _sorted(items, order, of)
    out: Items = []
    while left and right:
        first, second = _index(live, left[0], of), _index(live, right[0], of)
        out.append(left.pop(0) if 0 <= first < second else right.pop(0))
    return out + left + right
