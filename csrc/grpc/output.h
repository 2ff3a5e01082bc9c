// What one burst puts on one connection, gathered for a single write.
#pragma once

#include <sys/uio.h>

#include <cstddef>
#include <cstdint>
#include <cstring>
#include <memory>
#include <span>
#include <vector>

#include "base/buffer.h"
#include "grpc/buffer_pool.h"

namespace penstock::grpc {

/// Frame headers and small payloads are copied into a scratch; large payloads
/// are referred to, and their buffers kept until clear(). One per thread.
class Output {
 public:
  static constexpr std::size_t kScratch = 96 * 1024;
  static constexpr std::size_t kMaxBytes = 512 * 1024;
  /// The largest frame: RFC 9113 section 4.2, and its header.
  static constexpr std::size_t kFrame = 9 + 16'384;
  /// Below this a copy is cheaper than one more piece of a gathered write.
  static constexpr std::size_t kReferFrom = 4 * 1024;

  explicit Output(BufferPool& pool)
      : pool_(pool), scratch_(std::make_unique_for_overwrite<std::uint8_t[]>(kScratch)) {}

  /// Room for one more frame of any size.
  bool has_room() const { return kScratch - used_ >= kFrame && bytes_ < kMaxBytes; }

  void copy(const void* bytes, std::size_t count) {
    std::uint8_t* to = scratch_.get() + used_;
    std::memcpy(to, bytes, count);
    used_ += count;
    bytes_ += count;
    if (joins_) {
      pieces_.back().iov_len += count;
    } else {
      pieces_.push_back({to, count});
      joins_ = true;
    }
  }

  /// `bytes` must stay until clear(): retire() the buffer that owns them.
  void payload(const std::uint8_t* bytes, std::size_t count) {
    if (count < kReferFrom || copy_all_) return copy(bytes, count);
    // sendmsg only reads what an iovec points at.
    pieces_.push_back({const_cast<std::uint8_t*>(bytes), count});
    bytes_ += count;
    joins_ = false;
  }

  /// Keeps a buffer that may be referred to.
  void retire(Buffer buffer) { retired_.push_back(std::move(buffer)); }

  /// TLS reads every byte anyway, and wants few records.
  void copy_all(bool all) { copy_all_ = all; }

  std::size_t bytes() const { return bytes_; }
  std::span<const iovec> pieces() const { return pieces_; }

  void clear() {
    for (Buffer& buffer : retired_) pool_.give(std::move(buffer));
    retired_.clear();
    pieces_.clear();
    used_ = bytes_ = 0;
    joins_ = false;
  }

 private:
  BufferPool& pool_;
  std::unique_ptr<std::uint8_t[]> scratch_;
  std::vector<iovec> pieces_;
  std::vector<Buffer> retired_;
  std::size_t used_ = 0;
  std::size_t bytes_ = 0;
  bool joins_ = false;
  bool copy_all_ = false;
};

}  // namespace penstock::grpc
