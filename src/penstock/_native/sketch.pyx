# cython: language_level=3, freethreading_compatible=False
# distutils: language = c++
"""Quantiles of known relative error, in constant memory."""

import math
import struct
import zlib

cimport cython

import numpy as np

from penstock._native.kernels cimport *

_MAGIC = b"PnLS"
_FORMAT = 1
_SCALE = 6
_HEADER = struct.Struct("<4sBbHHddd4Q")
"""Magic, format, scale, first bucket and their number, sum, extremes, the counts of what no
bucket takes; then the buckets' counts and a CRC-32 of all before."""

cdef Py_ssize_t _BUCKETS = SKETCH_BUCKETS
cdef Py_ssize_t _FIRST = SKETCH_FIRST


cdef inline CLatencySketch* core(LatencySketch sketch) noexcept nogil:
    return <CLatencySketch*>sketch.native


cdef double value_at(const CLatencySketch& sketch, rank, cumulative) except *:
    """The value of a rank, from 1."""
    if rank == 1:
        return sketch.minimum()
    if rank == cumulative[-1]:
        return sketch.maximum()
    cdef Py_ssize_t at = int(np.searchsorted(cumulative, rank))
    if at == 0:
        return sketch.minimum()
    if at > _BUCKETS + 1:
        return sketch.maximum()
    cdef double under = SketchScale.upper_bound(at - 3)
    cdef double over = SketchScale.upper_bound(at - 2)
    # The harmonic mean is off by the same factor at either end (Masson, Rim and Lee,
    # "DDSketch", VLDB 2019, section 2.1).
    value = SKETCH_LOWEST / 2 if at == 1 else 2 * under * over / (under + over)
    return min(max(value, sketch.minimum()), sketch.maximum())


@cython.final
cdef class LatencySketch:
    def __cinit__(self):
        self.native = <NativeSketch*>new CLatencySketch()

    def __dealloc__(self):
        cdef CLatencySketch* native = core(self)
        del native

    cdef void observe(self, double value, uint64_t times) noexcept nogil:
        core(self).add(value, times)

    # --- Counting -------------------------------------------------------------------------------

    def add(self, double value):
        core(self).add(value, 1)

    def add_times(self, double value, uint64_t times):
        core(self).add(value, times)

    def add_many(self, values):
        array = np.asarray(values)
        if array.dtype.kind not in "fiub":
            raise TypeError(f"values of dtype {array.dtype} came, expected numbers")
        if array.dtype != np.float64 or not array.dtype.isnative:
            array = array.astype(np.float64)
        if array.ndim != 1:
            array = array.reshape(-1)
        cdef size_t address = array.ctypes.data
        cdef size_t count = array.size
        cdef ptrdiff_t stride = array.strides[0]
        with nogil:
            core(self).add_many(<const void*>address, count, stride)

    def merge(self, LatencySketch other not None):
        cdef uint64_t[::1] counts = other.counts
        cdef CLatencySketch* them = core(other)
        core(self).merge(&counts[0], them.sum(), them.minimum(), them.maximum())

    def clear(self):
        core(self).clear()

    # --- Reading --------------------------------------------------------------------------------

    @property
    def counts(self):
        array = np.zeros(kSketchSlots, np.uint64)
        cdef uint64_t[::1] view = array
        core(self).copy_counts(&view[0])
        return array

    @property
    def count(self):
        counts = self.counts
        return int(counts.sum()) - int(counts[kSketchNan])

    @property
    def sum(self):
        return core(self).sum()

    @property
    def mean(self):
        count = self.count
        return self.sum / count if count else math.nan

    @property
    def min(self):
        return core(self).minimum() if self.count else math.nan

    @property
    def max(self):
        return core(self).maximum() if self.count else math.nan

    @property
    def low(self):
        return int(self.counts[kSketchLow])

    @property
    def high(self):
        return int(self.counts[kSketchHigh])

    @property
    def negative(self):
        return int(self.counts[kSketchNegative])

    @property
    def nan(self):
        return int(self.counts[kSketchNan])

    def quantile(self, double q):
        return self.quantiles((q,))[0]

    def quantiles(self, qs):
        wanted = [float(q) for q in qs]
        for q in wanted:
            if not 0 <= q <= 1:
                raise ValueError(f"quantile {q} came, expected one from 0 to 1")
        counts = self.counts
        # In the order of their values.
        ordered = np.concatenate(
            (
                counts[[kSketchNegative, kSketchLow]],
                counts[: SKETCH_BUCKETS],
                counts[[kSketchHigh]],
            )
        )
        cumulative = np.cumsum(ordered)
        total = int(cumulative[-1])
        if total == 0:
            return [math.nan] * len(wanted)
        return [
            value_at(core(self)[0], max(math.ceil(q * total), 1), cumulative) for q in wanted
        ]

    # --- Elsewhere ------------------------------------------------------------------------------

    @classmethod
    def from_counts(cls, counts, double sum, low=None, high=None):
        cdef LatencySketch sketch = cls()
        array = np.ascontiguousarray(counts, np.uint64)
        if array.shape != (kSketchSlots,):
            raise ValueError(f"counts of shape {array.shape} came, expected ({kSketchSlots},)")
        taken = np.flatnonzero(array[: kSketchNan])
        if taken.size == 0:
            if array[kSketchNan] == 0:
                return sketch
            low, high, sum = math.inf, -math.inf, 0.0
        else:
            bottom, top = bounds_of(taken)
            low = bottom if low is None else low
            high = top if high is None else high
        cdef uint64_t[::1] view = array
        core(sketch).merge(&view[0], sum, low, high)
        return sketch

    def to_bytes(self):
        counts = self.counts
        taken = np.flatnonzero(counts[: SKETCH_BUCKETS])
        first, last = (int(taken[0]), int(taken[-1]) + 1) if taken.size else (0, 0)
        others = [int(count) for count in counts[SKETCH_BUCKETS:]]
        native = core(self)
        head = _HEADER.pack(
            _MAGIC, _FORMAT, _SCALE, first, last - first,
            native.sum(), native.minimum(), native.maximum(), *others,
        )
        body = head + counts[first:last].astype("<u8").tobytes()
        return body + struct.pack("<I", zlib.crc32(body))

    @classmethod
    def from_bytes(cls, data):
        data = bytes(data)
        if len(data) < _HEADER.size + 4 or data[:4] != _MAGIC:
            raise ValueError(f"{len(data)} bytes that are no latency sketch came")
        _, version, scale, first, buckets, total, low, high, *others = _HEADER.unpack_from(data)
        if (version, scale) != (_FORMAT, _SCALE):
            raise ValueError(
                f"a latency sketch of format {version} and scale {scale} came, expected format "
                f"{_FORMAT} and scale {_SCALE}"
            )
        size = _HEADER.size + 8 * buckets + 4
        if len(data) != size or first + buckets > SKETCH_BUCKETS:
            raise ValueError(
                f"a latency sketch of {len(data)} bytes came, expected {size} for {buckets} "
                f"buckets from {first} on"
            )
        if struct.unpack("<I", data[-4:])[0] != zlib.crc32(data[:-4]):
            raise ValueError("a latency sketch with a wrong checksum came")
        counts = np.zeros(kSketchSlots, np.uint64)
        counts[first : first + buckets] = np.frombuffer(data, "<u8", buckets, _HEADER.size)
        counts[SKETCH_BUCKETS:] = others
        return cls.from_counts(counts, total, low, high)

    def __reduce__(self):
        return (LatencySketch.from_bytes, (self.to_bytes(),))

    def __repr__(self):
        p50, p99 = self.quantiles((0.5, 0.99))
        return f"LatencySketch(count={self.count}, p50={p50:.6g}, p99={p99:.6g}, max={self.max:.6g})"

    def to_prometheus(self):
        counts = self.counts
        indices = np.flatnonzero(counts[: SKETCH_BUCKETS])
        # Prometheus numbers buckets by their upper bound, OpenTelemetry by their lower.
        filled = [(_FIRST + int(i) + 1, int(counts[i])) for i in indices]
        if counts[kSketchHigh]:
            # The bucket up to infinity: after the one that ends with the largest double.
            filled.append(((1024 << _SCALE) + 1, int(counts[kSketchHigh])))
        spans, deltas, last = [], [], 0
        end = None
        for index, count in filled:
            if end is None or index > end:
                spans.append([index - (0 if end is None else end), 1])
            else:
                spans[-1][1] += 1
            end = index + 1
            deltas.append(count - last)
            last = count
        low = int(counts[kSketchLow])
        return {
            "schema": _SCALE,
            "sample_count": low + sum(count for _, count in filled),
            "sample_sum": self.sum,
            "zero_threshold": SKETCH_LOWEST,
            "zero_count": low,
            "positive_spans": [tuple(span) for span in spans],
            "positive_deltas": deltas,
        }

    def to_opentelemetry(self, int scale=_SCALE):
        if not -10 <= scale <= _SCALE:
            raise ValueError(f"scale {scale} came, expected one from -10 to {_SCALE}")
        counts = self.counts
        shift = _SCALE - scale
        by_index = {}
        for i in np.flatnonzero(counts[: SKETCH_BUCKETS]):
            # Two buckets of one scale are one of the next, exactly.
            index = (_FIRST + int(i)) >> shift
            by_index[index] = by_index.get(index, 0) + int(counts[i])
        if counts[kSketchHigh]:
            # No bucket was kept for each: all stand where the largest does.
            top = min(self.max, 1.7976931348623157e308)
            index = (math.ceil(math.log2(top) * 64) - 1) >> shift
            by_index[index] = by_index.get(index, 0) + int(counts[kSketchHigh])
        offset = min(by_index, default=0)
        buckets = [0] * (max(by_index) - offset + 1 if by_index else 0)
        for index, count in by_index.items():
            buckets[index - offset] = count
        low = int(counts[kSketchLow])
        return {
            "scale": scale,
            "count": low + sum(buckets),
            "sum": self.sum,
            "min": self.min,
            "max": self.max,
            "zero_count": low,
            "zero_threshold": SKETCH_LOWEST,
            "positive": {"offset": offset, "bucket_counts": buckets},
        }

    def cumulative_buckets(self):
        counts = self.counts
        under = int(counts[kSketchNegative]) + int(counts[kSketchLow])
        octaves = counts[: SKETCH_BUCKETS].reshape(-1, 64).sum(axis=1)
        bounds = [(SKETCH_LOWEST, under)]
        for octave, count in enumerate(octaves):
            under += int(count)
            bounds.append((SKETCH_LOWEST * 2.0 ** (octave + 1), under))
        bounds.append((math.inf, under + int(counts[kSketchHigh])))
        return bounds


cdef tuple bounds_of(taken):
    """Bounds of the values in the slots `taken`, ascending, that are no NaN."""
    low, high = math.inf, -math.inf
    for slot in (int(taken[0]), *(int(slot) for slot in taken[taken >= SKETCH_BUCKETS])):
        if slot < SKETCH_BUCKETS:
            low, high = min(low, SketchScale.upper_bound(slot - 1)), max(high, 0.0)
        elif slot == kSketchLow:
            low, high = min(low, 0.0), max(high, SKETCH_LOWEST)
        elif slot == kSketchHigh:
            low, high = min(low, SKETCH_HIGHEST), math.inf
        else:
            low, high = -math.inf, max(high, 0.0)
    buckets = taken[taken < SKETCH_BUCKETS]
    if buckets.size:
        high = max(high, SketchScale.upper_bound(int(buckets[-1])))
    return low, high
