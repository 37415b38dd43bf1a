"""The files that an ONNX model names are found wherever a tensor can stand in it."""

from __future__ import annotations

import numpy as np
import onnx
import pytest
from hypothesis import given
from hypothesis import strategies as st
from onnx import TensorProto, helper, numpy_helper

from profiles.errors import InputError
from profiles.external_data import _INSIDE, external_files, require_whole


def tensor(name: str) -> TensorProto:
    """A tensor whose numbers lie in a file."""
    made = TensorProto(name="w", data_type=TensorProto.FLOAT, dims=[3])
    made.data_location = TensorProto.EXTERNAL
    for key, value in (("offset", "0"), ("location", name), ("length", "12")):
        made.external_data.add(key=key, value=value)
    return made


def test_every_way_to_a_tensor_is_known() -> None:
    """Held against the definition of the format that the `onnx` package ships."""
    expected: dict[str, dict[int, str]] = {}
    waiting = [onnx.ModelProto.DESCRIPTOR]
    seen = set()
    while waiting:
        message = waiting.pop()
        if message.name in seen:
            continue
        seen.add(message.name)
        for field in message.fields:
            if field.message_type is not None:
                expected.setdefault(message.name, {})[field.number] = field.message_type.name
                waiting.append(field.message_type)
    leading = {"TensorProto"}
    while True:
        more = {n for n, to in expected.items() if leading & {*to.values()}} | leading
        if more == leading:
            break
        leading = more
    reached = {
        name: {number: to for number, to in fields.items() if to in leading}
        for name, fields in expected.items()
        if name in leading - {"TensorProto"}
    }
    assert reached == _INSIDE


def nested(tensors: list[TensorProto]) -> onnx.ModelProto:
    """A model with a tensor in every place that holds one, in turn."""
    node = helper.make_node("Constant", [], ["c"], value=tensors[0])
    several = helper.make_node("Own", [], ["d"], domain="own")
    several.attribute.add(name="all", type=onnx.AttributeProto.TENSORS).tensors.append(tensors[1])
    sparse = onnx.SparseTensorProto(values=tensors[2], indices=tensors[3], dims=[9])
    several.attribute.add(name="s", type=onnx.AttributeProto.SPARSE_TENSOR).sparse_tensor.CopyFrom(
        sparse
    )
    inner = helper.make_graph([node, several], "inner", [], [])
    middle = helper.make_graph([], "middle", [], [], initializer=[tensors[4]])
    middle.node.add(op_type="If").attribute.add(name="then_branch").g.CopyFrom(inner)
    graph = helper.make_graph([], "outer", [], [], sparse_initializer=[sparse])
    graph.node.add(op_type="Own").attribute.add(name="graphs").graphs.append(middle)
    model = helper.make_model(graph)
    function = model.functions.add(name="f")
    function.node.append(helper.make_node("Constant", [], ["c"], value=tensors[5]))
    function.attribute_proto.add(name="a").t.CopyFrom(tensors[6])
    model.training_info.add().initialization.initializer.append(tensors[7])
    return model


@given(st.lists(st.none() | st.text(min_size=1), min_size=8, max_size=8))
def test_a_file_is_found_in_whatever_part_of_a_model_it_is_named(names: list[str | None]) -> None:
    plain = numpy_helper.from_array(np.ones(3, dtype=np.float32), "w")
    model = nested([plain if name is None else tensor(name) for name in names])
    found = external_files(model.SerializeToString(), "it")
    assert found == tuple(sorted({name for name in names if name is not None}))


def test_a_model_that_holds_all_of_itself_names_none() -> None:
    plain = numpy_helper.from_array(np.ones(3, dtype=np.float32), "w")
    content = nested([plain] * 8).SerializeToString()
    assert external_files(content, "it") == ()
    require_whole(content, "it", "nothing")
    elsewhere = nested([tensor("z"), tensor("a\nb"), *[plain] * 6]).SerializeToString()
    with pytest.raises(InputError, match=r"it: .*no digest pins.*got 'a\\nb', 'z'"):
        require_whole(elsewhere, "it", "fit again")


@given(st.binary(max_size=200))
def test_bytes_that_are_read_as_a_model_are_read_by_onnx_too_or_refused(content: bytes) -> None:
    """This reader may refuse more than protobuf does. It never finds less."""
    try:
        found = external_files(content, "it")
    except InputError:
        return
    try:
        model = onnx.load_from_string(content)
    except Exception:  # protobuf names none of its own
        return
    assert set(found) >= {
        entry.value
        for made in model.graph.initializer
        for entry in made.external_data
        if entry.key == "location"
    }


@given(st.data())
def test_a_damaged_model_is_refused_or_names_what_protobuf_finds_in_it(data: st.DataObject) -> None:
    content = bytearray(nested([tensor(name) for name in "abcdefgh"]).SerializeToString())
    at = data.draw(st.integers(0, len(content) - 1))
    content[at] = data.draw(st.integers(0, 255))
    try:
        found = external_files(bytes(content), "it")
    except InputError:
        return
    try:
        model = onnx.load_from_string(bytes(content))
    except Exception:  # protobuf names none of its own
        return
    assert set(found) >= {
        e.value for t in every_tensor(model) for e in t.external_data if e.key == "location"
    }


def every_tensor(message):  # type: ignore[no-untyped-def]
    if isinstance(message, TensorProto):
        yield message
    for field, value in message.ListFields():
        if field.message_type is not None:
            for one in value if field.is_repeated else [value]:
                yield from every_tensor(one)


@pytest.mark.parametrize(
    "content",
    [
        b"?",
        b"\x3a\x05abc",  # a length beyond the end
        b"\x3a\xff\xff\xff\xff\xff\xff\xff\xff\xff\x7f",  # one beyond all reason
        b"\xba\x80\x80\x80\x80\x01\x00",  # the number of a field in which protobuf loses digits
        b"\x3b\x3c",  # a group, which ONNX has none of
        b"\x08\x80",  # a number without an end
    ],
)
def test_what_no_writer_of_onnx_writes_is_refused(content: bytes) -> None:
    with pytest.raises(InputError, match="it: this is not an ONNX model"):
        external_files(content, "it")
