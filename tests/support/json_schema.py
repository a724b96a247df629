"""The part of JSON Schema that Pelagos' schemas use, checked by hand."""

from typing import Any

TYPES = {
    "object": dict,
    "array": list,
    "string": str,
    "boolean": bool,
    "integer": int,
    "number": (int, float),
    "null": type(None),
}


def fits(schema: dict[str, Any], value: Any) -> bool:
    """Whether a value is what a schema describes."""
    return (
        _is_of_type(schema, value)
        and _combines(schema, value)
        and _in_range(schema, value)
        and (not isinstance(value, dict) or _keys_fit(schema, value))
        and (not isinstance(value, list) or _entries_fit(schema, value))
    )


def _is_of_type(schema: dict[str, Any], value: Any) -> bool:
    kind = schema.get("type")
    if kind is None:
        return True
    return isinstance(value, TYPES[kind]) and isinstance(value, bool) <= (kind == "boolean")


def _combines(schema: dict[str, Any], value: Any) -> bool:
    if "if" in schema and fits(schema["if"], value) and not fits(schema["then"], value):
        return False
    return (
        value in schema.get("enum", [value])
        and value == schema.get("const", value)
        and all(fits(part, value) for part in schema.get("allOf", []))
        and ("anyOf" not in schema or any(fits(part, value) for part in schema["anyOf"]))
        and sum(fits(part, value) for part in schema.get("oneOf", [])) == ("oneOf" in schema)
    )


def _in_range(schema: dict[str, Any], value: Any) -> bool:
    if not isinstance(value, (int, float)):
        return True
    return (
        value >= schema.get("minimum", value)
        and value <= schema.get("maximum", value)
        and value > schema.get("exclusiveMinimum", value - 1)
        and value < schema.get("exclusiveMaximum", value + 1)
    )


def _keys_fit(schema: dict[str, Any], value: dict[str, Any]) -> bool:
    known, others = schema.get("properties", {}), schema.get("additionalProperties", True)
    rest = {key: item for key, item in value.items() if key not in known}
    return (
        set(schema.get("required", ())) <= set(value)
        and set(value) <= set(schema.get("propertyNames", {}).get("enum", value))
        and all(fits(known[key], item) for key, item in value.items() if key in known)
        and not (rest and others is False)
        and (isinstance(others, bool) or all(fits(others, item) for item in rest.values()))
    )


def _entries_fit(schema: dict[str, Any], value: list[Any]) -> bool:
    first = schema.get("prefixItems", [])
    return (
        schema.get("minItems", 0) <= len(value) <= schema.get("maxItems", len(value))
        and all(fits(part, item) for part, item in zip(first, value, strict=False))
        and all(fits(schema.get("items", {}), item) for item in value[len(first) :])
    )
