# cython: language_level=3, freethreading_compatible=False
# distutils: language = c++
"""Counts of features' values in the bins of a reference."""

import json
import math
import struct
import zlib

cimport cython
from libcpp.memory cimport make_shared, unique_ptr
from libcpp.vector cimport vector

import numpy as np

from penstock._native.kernels cimport *
from penstock.spec import MAX_BINS, Bins

_MAGIC = b"PnDH"
_FORMAT = 1
_HEADER = struct.Struct("<4sBIQ")
"""Magic, format, bytes of the bins' JSON, rows; then the JSON, the counts, a CRC-32 of all."""


cdef class Features:
    """Bins as the core has them."""

    def __cinit__(self, bins):
        self.bins = tuple(bins)
        self.native = <shared_ptr[const DriftFeatures]>features_of(self.bins)


cdef shared_ptr[DriftFeatures] features_of(tuple bins) except *:
    cdef shared_ptr[DriftFeatures] native = make_shared[DriftFeatures]()
    cdef vector[double] numbers
    cdef vector[string] texts
    for index, feature in enumerate(bins):
        check_bins(index, feature)
        numbers.clear()
        if feature.kind == "category" and isinstance(feature.values[0], str):
            texts.clear()
            for value in feature.values:
                texts.push_back(value.encode())
            native.get().add_text_category(TextSpan(texts.data(), texts.size()))
        elif feature.kind == "category":
            for value in feature.values:
                numbers.push_back(value)
            native.get().add_category(NumberSpan(numbers.data(), numbers.size()))
        else:
            for value in feature.edges:
                numbers.push_back(value)
            native.get().add_numeric(NumberSpan(numbers.data(), numbers.size()))
    return native


def check_bins(index, feature):
    """Raise ValueError unless the core can count with these bins."""
    what = f"bins of feature {index}"
    if feature.kind not in ("numeric", "category"):
        raise ValueError(f"{what}: kind {feature.kind!r} came, expected 'numeric' or 'category'")
    if not 1 <= feature.count <= MAX_BINS:
        raise ValueError(f"{what}: {feature.count} bins came, expected 1 to {MAX_BINS}")
    points = feature.values if feature.kind == "category" else feature.edges
    if all(isinstance(point, str) for point in points):
        if feature.kind == "numeric":
            raise ValueError(f"{what}: edges that are texts came, expected numbers")
        if len(set(points)) != len(points) or "" in points:
            raise ValueError(f"{what}: values that are empty or repeated came")
        return
    for point in points:
        if isinstance(point, str) or not math.isfinite(point):
            raise ValueError(f"{what}: {point!r} came, expected a finite number")
    for low, high in zip(points, points[1:]):
        if not low < high:
            raise ValueError(f"{what}: {low!r} before {high!r}, expected them to ascend")


cdef Element element_of(dtype) except *:
    names = {
        "b1": <int>Element.kBool, "i1": <int>Element.kInt8, "i2": <int>Element.kInt16,
        "i4": <int>Element.kInt32, "i8": <int>Element.kInt64, "u1": <int>Element.kUint8,
        "u2": <int>Element.kUint16, "u4": <int>Element.kUint32, "u8": <int>Element.kUint64,
        "f2": <int>Element.kHalf, "f4": <int>Element.kFloat, "f8": <int>Element.kDouble,
    }
    return <Element><int>names[dtype.str[1:]]


@cython.final
cdef class DriftHistogram:
    cdef unique_ptr[DriftCounts] native
    cdef Features features
    cdef object seen

    def __init__(self, bins):
        if self.features is not None:
            raise RuntimeError("a DriftHistogram is made once")
        self.features = Features(getattr(bins, "bins", bins))
        self.native.reset(new DriftCounts(self.features.native))
        self.seen = 0

    def __len__(self):
        return len(self.features.bins)

    @property
    def bins(self):
        return self.features.bins

    @property
    def rows(self):
        return self.seen

    @property
    def counts(self):
        array = np.zeros((len(self), kDriftSlots), np.uint64)
        cdef uint64_t[:, ::1] view = array
        if len(self):
            self.native.get().add_to(&view[0, 0])
        return array

    def observe(self, batch):
        array = np.asarray(batch)
        if array.ndim == 1 and len(self) == 1:
            array = array.reshape(-1, 1)
        if array.ndim != 2 or array.shape[1] != len(self):
            raise ValueError(
                f"a batch of shape {array.shape} came, expected (rows, {len(self)})"
            )
        if array.dtype.kind in "OSU":
            for feature in range(len(self)):
                self.count_text_column(feature, array[:, feature])
        else:
            self.count_table(0, array)
        self.seen += array.shape[0]

    def observe_column(self, Py_ssize_t feature, values):
        if not 0 <= feature < len(self):
            raise IndexError(f"feature {feature} of {len(self)}")
        array = np.asarray(values)
        if array.ndim != 1:
            raise ValueError(f"a column of shape {array.shape} came, expected one dimension")
        if array.dtype.kind in "OSU":
            self.count_text_column(feature, array)
        else:
            self.count_table(feature, array.reshape(-1, 1))
        # Columns are counted one by one: the longest tells the rows.
        self.seen = max(self.seen, int(self.counts[feature].sum()))

    cdef count_table(self, size_t first, array):
        if array.dtype.kind not in "fiub":
            raise TypeError(f"values of dtype {array.dtype} came, expected numbers or texts")
        if not array.dtype.isnative or array.dtype.itemsize > 8:
            array = array.astype(np.float64 if array.dtype.kind == "f" else array.dtype.newbyteorder("="))
        for feature in range(first, first + array.shape[1]):
            if self.features.native.get().is_text(feature):
                raise TypeError(f"numbers came for feature {feature}, which is of texts")
        cdef DriftTable table
        table.data = <const void*><size_t>array.ctypes.data
        table.rows = array.shape[0]
        table.columns = array.shape[1]
        table.row_stride = array.strides[0]
        table.column_stride = array.strides[1]
        cdef Element element = element_of(array.dtype)
        with nogil:
            self.native.get().count_numbers(first, element, table)

    cdef count_text_column(self, size_t feature, column):
        cdef bytes encoded
        if not self.features.native.get().is_text(feature):
            raise TypeError(f"texts came for feature {feature}, which is of numbers")
        for value in column.tolist():
            if value is None or value != value:
                encoded = b""
            elif isinstance(value, str):
                encoded = value.encode("utf-8", "surrogatepass")
            elif isinstance(value, bytes):
                encoded = value
            else:
                raise TypeError(f"{value!r} came for feature {feature}, expected a text")
            self.native.get().count_text(feature, string_view(encoded, len(encoded)))

    def merge(self, DriftHistogram other not None):
        if other.bins != self.bins:
            raise ValueError("a histogram of other bins came")
        self.add_counts(other.counts, other.rows)

    def add_counts(self, counts, rows):
        array = np.ascontiguousarray(counts, np.uint64)
        if array.shape != (len(self), kDriftSlots):
            raise ValueError(
                f"counts of shape {array.shape} came, expected ({len(self)}, {kDriftSlots})"
            )
        cdef const uint64_t[:, ::1] view = array
        if len(self):
            self.native.get().add_from(&view[0, 0])
        self.seen += rows

    def to_bytes(self):
        bins = json.dumps(
            [
                {"edges": feature.edges} if feature.kind == "numeric" else {"values": feature.values}
                for feature in self.bins
            ]
        ).encode()
        head = _HEADER.pack(_MAGIC, _FORMAT, len(bins), self.rows)
        body = head + bins + self.counts.astype("<u8").tobytes()
        return body + struct.pack("<I", zlib.crc32(body))

    @classmethod
    def from_bytes(cls, data):
        data = bytes(data)
        if len(data) < _HEADER.size + 4 or data[:4] != _MAGIC:
            raise ValueError(f"{len(data)} bytes that are no drift histogram came")
        _, version, size, rows = _HEADER.unpack_from(data)
        if version != _FORMAT:
            raise ValueError(
                f"a drift histogram of format {version} came, expected format {_FORMAT}"
            )
        if struct.unpack("<I", data[-4:])[0] != zlib.crc32(data[:-4]):
            raise ValueError("a drift histogram with a wrong checksum came")
        start = _HEADER.size + size
        bins = [
            Bins("numeric", edges=tuple(feature["edges"]))
            if "edges" in feature
            else Bins("category", values=tuple(feature["values"]))
            for feature in json.loads(data[_HEADER.size : start])
        ]
        histogram = cls(bins)
        counts = np.frombuffer(data[start:-4], "<u8").reshape(len(bins), kDriftSlots)
        histogram.add_counts(counts, rows)
        return histogram

    def __reduce__(self):
        return (DriftHistogram.from_bytes, (self.to_bytes(),))
