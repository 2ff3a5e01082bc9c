// Memory at an address that stays.
#pragma once

#include <sys/mman.h>

#include <cstddef>
#include <cstdint>
#include <new>
#include <utility>

namespace penstock {

/// Pages straight from the kernel: zero until written, and not resident until
/// touched, so that room for the largest batch costs nothing while batches are
/// small. Page-aligned.
class Arena {
 public:
  Arena() = default;
  Arena(Arena&& other) noexcept
      : data_(std::exchange(other.data_, nullptr)), size_(std::exchange(other.size_, 0)) {}
  Arena& operator=(Arena&& other) noexcept {
    std::swap(data_, other.data_);
    std::swap(size_, other.size_);
    return *this;
  }
  Arena(const Arena&) = delete;
  Arena& operator=(const Arena&) = delete;
  ~Arena() {
    if (data_ != nullptr) munmap(data_, size_);
  }

  std::uint8_t* data() { return data_; }
  std::size_t size() const { return size_; }

  /// Room for `size` bytes; what was there is lost, and the address changes, if
  /// there was not enough. Throws std::bad_alloc.
  void require(std::size_t size) {
    if (size <= size_) return;
    void* fresh = mmap(nullptr, size, PROT_READ | PROT_WRITE,
                       MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    if (fresh == MAP_FAILED) throw std::bad_alloc();
    if (data_ != nullptr) munmap(data_, size_);
    data_ = static_cast<std::uint8_t*>(fresh);
    size_ = size;
  }

 private:
  std::uint8_t* data_ = nullptr;
  std::size_t size_ = 0;
};

}  // namespace penstock
