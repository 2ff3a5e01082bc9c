// Memory at an address that stays.
#pragma once

#include <sys/mman.h>

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <new>
#include <utility>
#include <vector>

namespace penstock {

/// Pages straight from the kernel: zero until written, and not resident until
/// touched, so that room for the largest batch costs nothing while batches are
/// small. Page-aligned.
class Arena {
 public:
  Arena() = default;
  Arena(Arena&& other) noexcept
      : data_(std::exchange(other.data_, nullptr)),
        size_(std::exchange(other.size_, 0)),
        outgrown_(std::exchange(other.outgrown_, {})) {}
  Arena& operator=(Arena&& other) noexcept {
    std::swap(data_, other.data_);
    std::swap(size_, other.size_);
    std::swap(outgrown_, other.outgrown_);
    return *this;
  }
  Arena(const Arena&) = delete;
  Arena& operator=(const Arena&) = delete;
  ~Arena() {
    if (data_ != nullptr) munmap(data_, size_);
    for (const auto& [data, size] : outgrown_) munmap(data, size);
  }

  std::uint8_t* data() { return data_; }
  std::size_t size() const { return size_; }

  /// Room for `size` bytes; what was there is lost, and the address changes, if
  /// there was not enough. Throws std::bad_alloc.
  void require(std::size_t size) {
    if (size <= size_) return;
    Arena larger;
    larger.map(std::max(size, 2 * size_));
    // A model may still look at what it was given: those pages stay mapped, but
    // are given back. All of them together are smaller than what follows.
    if (data_ != nullptr) {
      madvise(data_, size_, MADV_DONTNEED);
      outgrown_.emplace_back(data_, size_);
    }
    data_ = std::exchange(larger.data_, nullptr);
    size_ = std::exchange(larger.size_, 0);
  }

 private:
  void map(std::size_t size) {
    void* fresh = mmap(nullptr, size, PROT_READ | PROT_WRITE,
                       MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    if (fresh == MAP_FAILED) throw std::bad_alloc();
    data_ = static_cast<std::uint8_t*>(fresh);
    size_ = size;
  }

  std::uint8_t* data_ = nullptr;
  std::size_t size_ = 0;
  std::vector<std::pair<std::uint8_t*, std::size_t>> outgrown_;
};

}  // namespace penstock
