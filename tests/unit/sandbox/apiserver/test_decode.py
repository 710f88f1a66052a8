"""Bodies of requests are read and refused as a real server (1.36) did it; the texts were copied from its answers."""

from __future__ import annotations

import json
from typing import Any

import pytest

from wfe_controller.sandbox.apiserver import decode, gojson
from wfe_controller.sandbox.apiserver.resources import Registry, ResourceInfo
from wfe_controller.sandbox.apiserver.schema import Schema
from wfe_controller.sandbox.apiserver.status import StatusError

JSON = "application/json"
YAML = "application/yaml"
THINGS = ResourceInfo(group="probe.example", version="v1", plural="things", kind="Thing", custom=True)
SCHEMA = Schema.compile(
    {
        "type": "object",
        "properties": {
            "spec": {
                "type": "object",
                "properties": {
                    "i": {"type": "integer"},
                    "any": {"type": "object", "x-kubernetes-preserve-unknown-fields": True},
                },
            }
        },
    }
)
UNRECOGNIZED = "the object provided is unrecognized (must be of type Thing): "
PARSE = UNRECOGNIZED + "couldn't get version/kind; json parse error: "


def read(body: str | bytes, content_type: str = JSON, validation: str = "") -> tuple[dict[str, Any], list[str]]:
    raw = body.encode() if isinstance(body, str) else body
    return decode.read(raw, content_type, THINGS, SCHEMA, validation, Registry([THINGS]))


def thing(spec: str = "") -> str:
    return f'{{"apiVersion":"probe.example/v1","kind":"Thing","metadata":{{"name":"a"}},"spec":{{{spec}}}}}'


def refusal(*args: Any) -> StatusError:
    with pytest.raises(StatusError) as caught:
        read(*args)
    return caught.value


@pytest.mark.parametrize(
    ("body", "message"),
    [
        ("", PARSE + "unexpected end of JSON input (<empty>)"),
        ("hello", PARSE + "invalid character 'h' looking for beginning of value (68656c6c6f)"),
        (b"\x00\x01\xff", PARSE + r"invalid character '\x00' looking for beginning of value (0001ff)"),
        (b"\xff\xfe{}", PARSE + "invalid character 'ÿ' looking for beginning of value (fffe7b7d)"),
        (
            thing() + "x",
            PARSE + "invalid character 'x' after top-level value " + '({"apiVersion":"probe.example/v ...)',
        ),
        (
            '"a"',
            PARSE + "json: cannot unmarshal string into Go value of type struct { APIVersion string "
            '"json:\\"apiVersion,omitempty\\""; Kind string "json:\\"kind,omitempty\\"" } (226122)',
        ),
        ("null", UNRECOGNIZED + "Object 'Kind' is missing in 'null' (6e756c6c)"),
        ("{}", UNRECOGNIZED + "Object 'Kind' is missing in '{}' ({})"),
        (
            '{"kind":1}',
            PARSE + "json: cannot unmarshal number into Go struct field .kind of type string " + '({"kind":1})',
        ),
        (
            '{"kind":"Thing"}',
            "the API version in the data () does not match the expected API version (probe.example/v1)",
        ),
    ],
)
def test_a_body_that_is_no_thing(body: str | bytes, message: str) -> None:
    error = refusal(body)
    assert (error.code, error.reason, error.message) == (400, "BadRequest", message)


def test_nesting_is_limited_as_in_go_and_costs_no_stack() -> None:
    """10,000 levels are read (and dropped as unknown), one more is refused."""
    deep = "[" * 9_990 + "]" * 9_990
    obj, warnings = read(thing(f'"x":{deep}'))
    assert (obj["spec"], warnings) == ({}, ['unknown field "spec.x"'])
    error = refusal(thing('"x":' + "[" * 10_001 + "]" * 10_001))
    assert "invalid character '[' exceeded max depth" in error.message


def test_what_would_be_kept_may_not_be_nested_without_end() -> None:
    error = refusal(thing('"any":{"x":' + "[" * 900 + "]" * 900 + "}"))
    assert (error.code, "nested deeper than" in error.message) == (400, True)


@pytest.mark.parametrize("content_type", ["", "text/xml", "application/json;;;", "/", "application/json;a", "*/*"])
def test_other_content_types_are_415(content_type: str) -> None:
    error = refusal(thing(), content_type)
    assert (error.code, error.reason) == (415, "UnsupportedMediaType")
    assert error.message.endswith("application/json, application/yaml, application/vnd.kubernetes.protobuf")


@pytest.mark.parametrize("content_type", ["application/json; charset=utf-8", "Application/JSON", "application/json;"])
def test_json_by_other_spellings(content_type: str) -> None:
    assert read(thing(), content_type)[0]["kind"] == "Thing"


def test_a_body_of_more_than_3_mib_is_413() -> None:
    error = refusal(thing('"any":{"x":"' + "x" * decode.MAX_BODY + '"}'))
    assert (error.code, error.message) == (413, "Request entity too large: limit is 3145728")


@pytest.mark.parametrize(
    ("validation", "outcome"),
    [
        ("", ['duplicate field "spec.i"', 'unknown field "spec.zz"']),
        ("Warn", ['duplicate field "spec.i"', 'unknown field "spec.zz"']),
        ("Ignore", []),
        (
            "Strict",
            'Thing in version "v1" cannot be handled as a Thing: strict decoding error: duplicate field "spec.i", '
            'unknown field "spec.zz"',
        ),
    ],
)
def test_unknown_and_duplicate_fields(validation: str, outcome: list[str] | str) -> None:
    body = thing('"i":1,"zz":{"a":1},"i":2')
    if isinstance(outcome, str):
        assert refusal(body, JSON, validation).message == outcome
    else:
        obj, warnings = read(body, JSON, validation)
        assert (obj["spec"], warnings) == ({"i": 2}, outcome)


def test_a_duplicate_key_in_yaml_is_told_by_its_line() -> None:
    body = "apiVersion: probe.example/v1\nkind: Thing\nmetadata: {name: a}\nspec:\n  i: 1\n  i: 2\n"
    assert read(body, YAML)[1] == ['line 6: key "i" already set in map']
    assert refusal(body, YAML, "Strict").message.endswith(
        'strict decoding error: yaml: unmarshal errors:\n  line 6: key "i" already set in map'
    )


def test_yaml_is_that_of_go() -> None:
    """YAML 1.1 booleans and octals, but no timestamps, no sexagesimals; floats without a point are floats."""
    text = "a: yes\nb: 017\nc: 0x1f\nd: 1e3\ne: 1:30\nf: 2020-01-01\ng: ~\nh: 'yes'\ni: .5\nj: 1_000\nk: 1.0\n"
    value = decode.decode(text.encode(), YAML).value
    assert value == {
        "a": True, "b": 15, "c": 31, "d": 1000, "e": "1:30", "f": "2020-01-01",
        "g": None, "h": "yes", "i": 0.5, "j": 1000, "k": 1,
    }  # fmt: skip


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("a: b: c", "yaml: mapping values are not allowed in this context"),
        ("{a", "yaml: line 1: did not find expected ',' or '}'"),
        ("a: *nope", "yaml: unknown anchor 'nope' referenced"),
        ("%YAML 1.2\n---\na: b", "yaml: found incompatible YAML document"),
        ("a: .inf", "json: unsupported value: +Inf"),
    ],
)
def test_broken_yaml(text: str, message: str) -> None:
    with pytest.raises(StatusError) as caught:
        decode.decode(text.encode(), YAML)
    assert caught.value.message == message


def test_aliases_are_copies_and_cannot_explode() -> None:
    """A value changed behind one alias stays what it was behind the other; a billion laughs are refused."""
    value = decode.decode(b"a: &x {k: 1}\nb: *x\n", YAML).value
    value["a"]["k"] = 2
    assert value["b"] == {"k": 1}
    lines = ["a0: &a0 [" + ",".join("x" * 10) + "]"]
    lines += [f"a{i}: &a{i} [" + ",".join([f"*a{i - 1}"] * 10) + "]" for i in range(1, 10)]
    with pytest.raises(StatusError, match="excessive aliasing"):
        decode.decode("\n".join(lines).encode(), YAML)


def test_numbers_become_what_a_client_reads_back() -> None:
    obj, _ = read(thing('"any":{"a":1.0,"b":1e3,"c":0.1,"d":9223372036854775807,"e":9223372036854775808}'))
    kept = obj["spec"]["any"]
    assert kept == {"a": 1, "b": 1000, "c": 0.1, "d": 2**63 - 1, "e": float(2**63)}
    assert [type(kept[key]) for key in "abcde"] == [int, int, float, int, float]
    assert refusal(thing('"any":{"a":1e400}')).message == (
        'Thing in version "v1" cannot be handled as a Thing: json: cannot unmarshal number 1e400 into Go value of type '
        "float64"
    )


def test_half_a_surrogate_pair_can_be_written_again() -> None:
    obj, _ = read(thing(r'"any":{"a":"\ud800","b":"\ud83d\ude00"}'))
    assert obj["spec"]["any"] == {"a": "�", "b": "😀"}
    json.dumps(obj).encode()


@pytest.mark.parametrize(
    ("metadata", "message"),
    [
        ({"name": 1}, "json: cannot unmarshal number into Go struct field ObjectMeta.name of type string"),
        ({"labels": {"a": 1}}, "json: cannot unmarshal number into Go struct field ObjectMeta.labels of type string"),
        (
            {"finalizers": "x"},
            "json: cannot unmarshal string into Go struct field ObjectMeta.finalizers of type []string",
        ),
        ("x", "json: cannot unmarshal string into Go value of type v1.ObjectMeta"),
        (
            {"creationTimestamp": "zzz"},
            'parsing time "zzz" as "2006-01-02T15:04:05Z07:00": cannot parse "zzz" as "2006"',
        ),
        ({"creationTimestamp": "2020-13-01T00:00:00Z"}, 'parsing time "2020-13-01T00:00:00Z": month out of range'),
    ],
)
def test_metadata_of_a_wrong_type(metadata: Any, message: str) -> None:
    body = json.dumps({"apiVersion": "probe.example/v1", "kind": "Thing", "metadata": metadata})
    assert refusal(body).message == f'Thing in version "v1" cannot be handled as a Thing: {message}'


@pytest.mark.parametrize(
    "text",
    ["{}", "[1,2]", '{"a":{"b":[1,"x",null,true,false]}}', '"\\u00e4\\n"', "-0.5e-3", " [ ] ", '{"a":{},"b":[]}'],
)
def test_the_slow_parser_reads_what_the_fast_one_reads(text: str) -> None:
    assert gojson.parse(text.encode()).value == json.loads(text)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("[1,]", "invalid character ']' looking for beginning of value"),
        ('{"a"}', "invalid character '}' after object key"),
        ('{"a":1,}', "invalid character '}' looking for beginning of object key string"),
        ('{"a":1 "b"}', "invalid character '\"' after object key:value pair"),
        ("[1 2]", "invalid character '2' after array element"),
        ("trux", "invalid character 'x' in literal true (expecting 'e')"),
        ('"\\q"', "invalid character 'q' in string escape code"),
        ('"a\nb"', r"invalid character '\n' in string literal"),
        ('"\\u12g"', r"invalid character 'g' in \u hexadecimal character escape"),
        ("-x", "invalid character 'x' in numeric literal"),
        ("1.x", "invalid character 'x' after decimal point in numeric literal"),
        ("1ex", "invalid character 'x' in exponent of numeric literal"),
        ("01", "invalid character '1' after top-level value"),
    ],
)
def test_syntax_errors_in_the_words_of_go(text: str, message: str) -> None:
    with pytest.raises(gojson.SyntaxProblem) as caught:
        gojson.parse(text.encode())
    assert str(caught.value) == message
