// The "gzip" message encoding of gRPC, on zlib.
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <span>

#include "base/buffer.h"

struct z_stream_s;

namespace penstock::grpc {

/// One inflater and one deflater, made when first needed and used again: making
/// a deflater costs 256 KiB and more time than a small message.
class Gzip {
 public:
  enum class Outcome : std::uint8_t {
    kOk,
    kCorrupt,   // no gzip stream, a broken one, or bytes after its end
    kTooLarge,  // more than `limit` bytes come out
    kNoMemory,
  };

  Gzip();
  ~Gzip();
  Gzip(const Gzip&) = delete;
  Gzip& operator=(const Gzip&) = delete;

  /// Appends what `compressed` holds to `*plain`. Never keeps more than `limit`
  /// bytes, however small the input (a "bomb").
  Outcome inflate(std::span<const std::uint8_t> compressed, std::size_t limit, Buffer* plain);

  /// Appends `plain` compressed to `*compressed`; kTooLarge if that does not
  /// make it smaller.
  Outcome deflate(std::span<const std::uint8_t> plain, Buffer* compressed);

 private:
  struct Inflater;
  struct Deflater;
  std::unique_ptr<Inflater> inflater_;
  std::unique_ptr<Deflater> deflater_;
};

}  // namespace penstock::grpc
