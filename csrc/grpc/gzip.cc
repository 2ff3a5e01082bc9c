#include "grpc/gzip.h"

#include <zlib.h>

#include <algorithm>

namespace penstock::grpc {
namespace {

constexpr int kGzipWindow = 15 + 16;  // zlib.h: 16 more asks for gzip's frame
constexpr int kLevel = 1;             // tensors compress little; time is dearer
constexpr std::size_t kFirstChunk = 16 * 1024;

// zlib's input pointer is not const only for historic reasons (zlib.h, z_const).
Bytef* input_of(std::span<const std::uint8_t> bytes) {
  return const_cast<Bytef*>(static_cast<const Bytef*>(bytes.data()));
}

}  // namespace

struct Gzip::Inflater {
  z_stream stream{};
  bool ready = inflateInit2(&stream, kGzipWindow) == Z_OK;
  ~Inflater() {
    if (ready) inflateEnd(&stream);
  }
};

struct Gzip::Deflater {
  z_stream stream{};
  bool ready =
      deflateInit2(&stream, kLevel, Z_DEFLATED, kGzipWindow, 8, Z_DEFAULT_STRATEGY) == Z_OK;
  ~Deflater() {
    if (ready) deflateEnd(&stream);
  }
};

Gzip::Gzip() = default;
Gzip::~Gzip() = default;

Gzip::Outcome Gzip::inflate(std::span<const std::uint8_t> compressed, std::size_t limit,
                            Buffer* plain) {
  if (inflater_ == nullptr) inflater_ = std::make_unique<Inflater>();
  z_stream& stream = inflater_->stream;
  if (!inflater_->ready || inflateReset(&stream) != Z_OK) return Outcome::kNoMemory;
  stream.next_in = input_of(compressed);
  stream.avail_in = static_cast<uInt>(compressed.size());
  const std::size_t start = plain->size();
  std::size_t done = 0;
  for (;;) {
    // One byte beyond the limit tells "just fits" from "too large".
    const std::size_t room =
        std::min(limit + 1 - done, std::max(plain->capacity() - start - done, kFirstChunk + done));
    plain->resize(start + done + room);
    stream.next_out = plain->data() + start + done;
    stream.avail_out = static_cast<uInt>(std::min<std::size_t>(room, UINT32_MAX));
    const std::size_t offered = stream.avail_out;
    const int result = ::inflate(&stream, Z_NO_FLUSH);
    done += offered - stream.avail_out;
    plain->resize(start + done);
    if (done > limit) return Outcome::kTooLarge;
    if (result == Z_STREAM_END) return stream.avail_in == 0 ? Outcome::kOk : Outcome::kCorrupt;
    if (result == Z_MEM_ERROR) return Outcome::kNoMemory;
    if (result != Z_OK || (stream.avail_in == 0 && stream.avail_out != 0)) return Outcome::kCorrupt;
  }
}

Gzip::Outcome Gzip::deflate(std::span<const std::uint8_t> plain, Buffer* compressed) {
  if (deflater_ == nullptr) deflater_ = std::make_unique<Deflater>();
  z_stream& stream = deflater_->stream;
  if (!deflater_->ready || deflateReset(&stream) != Z_OK) return Outcome::kNoMemory;
  const std::size_t start = compressed->size();
  compressed->resize(start + plain.size());
  stream.next_in = input_of(plain);
  stream.avail_in = static_cast<uInt>(plain.size());
  stream.next_out = compressed->data() + start;
  stream.avail_out = static_cast<uInt>(plain.size());
  const int result = ::deflate(&stream, Z_FINISH);
  if (result != Z_STREAM_END || stream.avail_out == 0) {
    compressed->resize(start);
    return Outcome::kTooLarge;
  }
  compressed->resize(start + plain.size() - stream.avail_out);
  return Outcome::kOk;
}

}  // namespace penstock::grpc
