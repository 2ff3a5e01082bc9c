// nghttp2's small blocks, kept by the thread that uses them.
#pragma once

#include <nghttp2/nghttp2.h>

#include <array>
#include <cstddef>
#include <cstdint>
#include <cstdlib>
#include <cstring>
#include <utility>

namespace penstock::grpc {

// AddressSanitizer sees more when every block is malloc's.
#if defined(__SANITIZE_ADDRESS__)
inline constexpr bool kPoolHttp2Memory = false;
#elif defined(__has_feature)
#if __has_feature(address_sanitizer)
inline constexpr bool kPoolHttp2Memory = false;
#else
inline constexpr bool kPoolHttp2Memory = true;
#endif
#else
inline constexpr bool kPoolHttp2Memory = true;
#endif

/// nghttp2 takes and gives back about twenty blocks a request; malloc's
/// per-thread cache holds seven of a size and overflows with every burst. Free
/// blocks of one size form a list here; what is kept is bounded by what was
/// once in use. Must outlive the sessions that use it; one thread only.
class Http2Memory {
 public:
  Http2Memory() : hooks_{this, &take, &give, &take_zeroed, &resize} {}
  Http2Memory(const Http2Memory&) = delete;
  Http2Memory& operator=(const Http2Memory&) = delete;
  ~Http2Memory() {
    for (Block* block : free_) {
      while (block != nullptr) std::free(std::exchange(block, block->next));
    }
  }

  nghttp2_mem* hooks() { return &hooks_; }

 private:
  static constexpr std::size_t kStep = 32;
  static constexpr std::size_t kLargest = 512;

  // In front of every block: its class, or kUnpooled.
  struct alignas(std::max_align_t) Block {
    union {
      Block* next;  // while free
      std::size_t size_class;
    };
    std::size_t size;
  };
  static constexpr std::size_t kUnpooled = kLargest / kStep;

  static Block* block_of(void* memory) { return static_cast<Block*>(memory) - 1; }

  static void* take(std::size_t size, void* self) noexcept {
    auto& free = static_cast<Http2Memory*>(self)->free_;
    if (!kPoolHttp2Memory || size == 0 || size > kLargest) return fresh(size, kUnpooled, size);
    const std::size_t size_class = (size - 1) / kStep;
    Block* block = free[size_class];
    if (block == nullptr) return fresh((size_class + 1) * kStep, size_class, size);
    free[size_class] = block->next;
    block->size_class = size_class;
    block->size = size;
    return block + 1;
  }

  static void* fresh(std::size_t room, std::size_t size_class, std::size_t size) noexcept {
    auto* block = static_cast<Block*>(std::malloc(sizeof(Block) + room));
    if (block == nullptr) return nullptr;
    block->size_class = size_class;
    block->size = size;
    return block + 1;
  }

  static void give(void* memory, void* self) noexcept {
    if (memory == nullptr) return;
    Block* block = block_of(memory);
    const std::size_t size_class = block->size_class;
    if (size_class == kUnpooled) return std::free(block);
    auto& free = static_cast<Http2Memory*>(self)->free_;
    block->next = free[size_class];
    free[size_class] = block;
  }

  static void* take_zeroed(std::size_t count, std::size_t size, void* self) noexcept {
    if (size != 0 && count > SIZE_MAX / size) return nullptr;
    void* memory = take(count * size, self);
    if (memory != nullptr) std::memset(memory, 0, count * size);
    return memory;
  }

  static void* resize(void* memory, std::size_t size, void* self) noexcept {
    void* grown = take(size, self);
    if (grown == nullptr || memory == nullptr) return grown;
    const std::size_t before = block_of(memory)->size;
    std::memcpy(grown, memory, before < size ? before : size);
    give(memory, self);
    return grown;
  }

  std::array<Block*, kLargest / kStep> free_{};
  nghttp2_mem hooks_;
};

}  // namespace penstock::grpc
