from google.protobuf.internal import containers as _containers
from google.protobuf.internal import enum_type_wrapper as _enum_type_wrapper
from google.protobuf import descriptor as _descriptor
from google.protobuf import message as _message
from collections.abc import Iterable as _Iterable, Mapping as _Mapping
from typing import ClassVar as _ClassVar, Optional as _Optional, Union as _Union

DESCRIPTOR: _descriptor.FileDescriptor

class Standing(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = ()
    UNKNOWN: _ClassVar[Standing]
    MEMBER: _ClassVar[Standing]
    GUEST: _ClassVar[Standing]
    EXPIRED: _ClassVar[Standing]
    USED_UP: _ClassVar[Standing]
UNKNOWN: Standing
MEMBER: Standing
GUEST: Standing
EXPIRED: Standing
USED_UP: Standing

class Plain(_message.Message):
    __slots__ = ("json",)
    JSON_FIELD_NUMBER: _ClassVar[int]
    json: bytes
    def __init__(self, json: _Optional[bytes] = ...) -> None: ...

class Question(_message.Message):
    __slots__ = ("load", "load_back_bytes")
    LOAD_FIELD_NUMBER: _ClassVar[int]
    LOAD_BACK_BYTES_FIELD_NUMBER: _ClassVar[int]
    load: bytes
    load_back_bytes: int
    def __init__(self, load: _Optional[bytes] = ..., load_back_bytes: _Optional[int] = ...) -> None: ...

class Told(_message.Message):
    __slots__ = ("time_s", "versions", "worker_bytes", "frame_bytes", "standing", "load")
    class VersionsEntry(_message.Message):
        __slots__ = ("key", "value")
        KEY_FIELD_NUMBER: _ClassVar[int]
        VALUE_FIELD_NUMBER: _ClassVar[int]
        key: str
        value: str
        def __init__(self, key: _Optional[str] = ..., value: _Optional[str] = ...) -> None: ...
    TIME_S_FIELD_NUMBER: _ClassVar[int]
    VERSIONS_FIELD_NUMBER: _ClassVar[int]
    WORKER_BYTES_FIELD_NUMBER: _ClassVar[int]
    FRAME_BYTES_FIELD_NUMBER: _ClassVar[int]
    STANDING_FIELD_NUMBER: _ClassVar[int]
    LOAD_FIELD_NUMBER: _ClassVar[int]
    time_s: float
    versions: _containers.ScalarMap[str, str]
    worker_bytes: int
    frame_bytes: int
    standing: Standing
    load: bytes
    def __init__(self, time_s: _Optional[float] = ..., versions: _Optional[_Mapping[str, str]] = ..., worker_bytes: _Optional[int] = ..., frame_bytes: _Optional[int] = ..., standing: _Optional[_Union[Standing, str]] = ..., load: _Optional[bytes] = ...) -> None: ...

class Piece(_message.Message):
    __slots__ = ("hello", "head", "part", "ack", "more")
    HELLO_FIELD_NUMBER: _ClassVar[int]
    HEAD_FIELD_NUMBER: _ClassVar[int]
    PART_FIELD_NUMBER: _ClassVar[int]
    ACK_FIELD_NUMBER: _ClassVar[int]
    MORE_FIELD_NUMBER: _ClassVar[int]
    hello: Hello
    head: Head
    part: Part
    ack: Ack
    more: _containers.RepeatedCompositeFieldContainer[Piece]
    def __init__(self, hello: _Optional[_Union[Hello, _Mapping]] = ..., head: _Optional[_Union[Head, _Mapping]] = ..., part: _Optional[_Union[Part, _Mapping]] = ..., ack: _Optional[_Union[Ack, _Mapping]] = ..., more: _Optional[_Iterable[_Union[Piece, _Mapping]]] = ...) -> None: ...

class Hello(_message.Message):
    __slots__ = ("session", "dialled", "lane", "received", "fresh", "machine", "listens", "stream", "delivered")
    class MachineEntry(_message.Message):
        __slots__ = ("key", "value")
        KEY_FIELD_NUMBER: _ClassVar[int]
        VALUE_FIELD_NUMBER: _ClassVar[int]
        key: str
        value: str
        def __init__(self, key: _Optional[str] = ..., value: _Optional[str] = ...) -> None: ...
    SESSION_FIELD_NUMBER: _ClassVar[int]
    DIALLED_FIELD_NUMBER: _ClassVar[int]
    LANE_FIELD_NUMBER: _ClassVar[int]
    RECEIVED_FIELD_NUMBER: _ClassVar[int]
    FRESH_FIELD_NUMBER: _ClassVar[int]
    MACHINE_FIELD_NUMBER: _ClassVar[int]
    LISTENS_FIELD_NUMBER: _ClassVar[int]
    STREAM_FIELD_NUMBER: _ClassVar[int]
    DELIVERED_FIELD_NUMBER: _ClassVar[int]
    session: bytes
    dialled: int
    lane: int
    received: int
    fresh: bool
    machine: _containers.ScalarMap[str, str]
    listens: _containers.RepeatedScalarFieldContainer[str]
    stream: int
    delivered: int
    def __init__(self, session: _Optional[bytes] = ..., dialled: _Optional[int] = ..., lane: _Optional[int] = ..., received: _Optional[int] = ..., fresh: _Optional[bool] = ..., machine: _Optional[_Mapping[str, str]] = ..., listens: _Optional[_Iterable[str]] = ..., stream: _Optional[int] = ..., delivered: _Optional[int] = ...) -> None: ...

class Head(_message.Message):
    __slots__ = ("number", "source", "destination", "kind", "body", "tensors", "stream", "serial")
    NUMBER_FIELD_NUMBER: _ClassVar[int]
    SOURCE_FIELD_NUMBER: _ClassVar[int]
    DESTINATION_FIELD_NUMBER: _ClassVar[int]
    KIND_FIELD_NUMBER: _ClassVar[int]
    BODY_FIELD_NUMBER: _ClassVar[int]
    TENSORS_FIELD_NUMBER: _ClassVar[int]
    STREAM_FIELD_NUMBER: _ClassVar[int]
    SERIAL_FIELD_NUMBER: _ClassVar[int]
    number: int
    source: str
    destination: str
    kind: str
    body: bytes
    tensors: _containers.RepeatedCompositeFieldContainer[Form]
    stream: int
    serial: int
    def __init__(self, number: _Optional[int] = ..., source: _Optional[str] = ..., destination: _Optional[str] = ..., kind: _Optional[str] = ..., body: _Optional[bytes] = ..., tensors: _Optional[_Iterable[_Union[Form, _Mapping]]] = ..., stream: _Optional[int] = ..., serial: _Optional[int] = ...) -> None: ...

class Form(_message.Message):
    __slots__ = ("dtype", "shape")
    DTYPE_FIELD_NUMBER: _ClassVar[int]
    SHAPE_FIELD_NUMBER: _ClassVar[int]
    dtype: str
    shape: _containers.RepeatedScalarFieldContainer[int]
    def __init__(self, dtype: _Optional[str] = ..., shape: _Optional[_Iterable[int]] = ...) -> None: ...

class Part(_message.Message):
    __slots__ = ("number", "tensor", "offset", "content")
    NUMBER_FIELD_NUMBER: _ClassVar[int]
    TENSOR_FIELD_NUMBER: _ClassVar[int]
    OFFSET_FIELD_NUMBER: _ClassVar[int]
    CONTENT_FIELD_NUMBER: _ClassVar[int]
    number: int
    tensor: int
    offset: int
    content: bytes
    def __init__(self, number: _Optional[int] = ..., tensor: _Optional[int] = ..., offset: _Optional[int] = ..., content: _Optional[bytes] = ...) -> None: ...

class Ack(_message.Message):
    __slots__ = ("number", "heard")
    NUMBER_FIELD_NUMBER: _ClassVar[int]
    HEARD_FIELD_NUMBER: _ClassVar[int]
    number: int
    heard: int
    def __init__(self, number: _Optional[int] = ..., heard: _Optional[int] = ...) -> None: ...
