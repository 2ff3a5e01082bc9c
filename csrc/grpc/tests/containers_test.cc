#include <doctest/doctest.h>

#include <algorithm>
#include <cstdint>
#include <cstring>
#include <memory>
#include <thread>
#include <vector>

#include "grpc/buffer_pool.h"
#include "grpc/fifo.h"
#include "grpc/http2_memory.h"
#include "grpc/method_table.h"
#include "grpc/output.h"
#include "grpc/post_queue.h"

namespace penstock::grpc {
namespace {

TEST_CASE("a pool gives back what fits, and keeps no more than it may") {
  BufferPool pool;
  Buffer first = pool.take(100);
  CHECK(first.capacity() >= 100);
  first.append("used", 4);
  const std::uint8_t* memory = first.data();
  pool.give(std::move(first));
  const Buffer again = pool.take(65);
  CHECK(again.data() == memory);
  CHECK(again.empty());
  CHECK(pool.kept() == 0);

  std::vector<Buffer> many;
  for (int i = 0; i < 20; ++i) many.push_back(pool.take(1 << 20));
  for (Buffer& buffer : many) pool.give(std::move(buffer));
  CHECK(pool.kept() <= BufferPool::kKept);
  CHECK(pool.kept() > 0);

  const std::size_t kept = pool.kept();
  pool.give(pool.take(10u << 20));
  pool.give(Buffer());
  CHECK(pool.kept() == kept);
}

TEST_CASE("a pool's buffer is never smaller than asked for") {
  BufferPool pool;
  for (std::size_t size : {0u, 1u, 63u, 64u, 65u, 127u, 128u, 129u, 4096u, 4097u, 3u << 20}) {
    Buffer odd;
    odd.reserve(size + 1);
    pool.give(std::move(odd));
    CHECK(pool.take(size).capacity() >= size);
  }
}

TEST_CASE("a fifo keeps its order while it wraps") {
  Fifo<std::unique_ptr<int>> fifo;
  int pushed = 0;
  int popped = 0;
  for (int round = 0; round < 300; ++round) {
    for (int i = 0; i < round % 7; ++i) fifo.push(std::make_unique<int>(pushed++));
    for (int i = 0; i < round % 5 && !fifo.empty(); ++i) REQUIRE(*fifo.pop() == popped++);
    REQUIRE(fifo.size() == static_cast<std::size_t>(pushed - popped));
  }
  REQUIRE(*fifo.front() == popped);
  REQUIRE(*fifo[fifo.size() - 1] == pushed - 1);
  REQUIRE(*fifo.pop_back() == --pushed);
  while (!fifo.empty()) REQUIRE(*fifo.pop() == popped++);
  CHECK(popped == pushed);
}

TEST_CASE("methods are found by their whole path") {
  const std::vector<Method> methods = {{"/b.S/Long"}, {"/a.S/M"}, {"/a.S/N", true, true}};
  const MethodTable table(methods);
  for (std::uint32_t i = 0; i < methods.size(); ++i) CHECK(table.find(methods[i].path) == i);
  CHECK(table[2].client_streaming);
  for (const char* path : {"", "/", "/a.S/", "/a.S/MM", "/a.S/O", "a.S/M"}) {
    CHECK_FALSE(table.find(path));
  }
}

TEST_CASE("output joins what is small and refers to what is large") {
  BufferPool pool;
  Output output(pool);
  Buffer large;
  large.resize(Output::kReferFrom);
  output.copy("ab", 2);
  output.payload(reinterpret_cast<const std::uint8_t*>("cd"), 2);
  output.payload(large.data(), large.size());
  output.copy("ef", 2);
  REQUIRE(output.pieces().size() == 3);
  CHECK(output.pieces()[0].iov_len == 4);
  CHECK(output.pieces()[1].iov_base == large.data());
  CHECK(output.bytes() == 6 + large.size());

  output.clear();
  output.copy_all(true);
  output.payload(large.data(), large.size());
  REQUIRE(output.pieces().size() == 1);
  CHECK(output.pieces()[0].iov_base != large.data());

  while (output.has_room()) output.copy(large.data(), large.size());
  CHECK(output.bytes() <= Output::kScratch);
}

TEST_CASE("nghttp2's blocks keep what they hold, and come again") {
  Http2Memory memory;
  const nghttp2_mem& hooks = *memory.hooks();
  for (const std::size_t size : {0u, 1u, 31u, 32u, 33u, 511u, 512u, 513u, 5'000u}) {
    CAPTURE(size);
    auto* bytes = static_cast<unsigned char*>(hooks.malloc(size, hooks.mem_user_data));
    std::memset(bytes, 7, size);
    bytes = static_cast<unsigned char*>(hooks.realloc(bytes, size + 700, hooks.mem_user_data));
    CHECK(std::all_of(bytes, bytes + size, [](unsigned char byte) { return byte == 7; }));
    bytes = static_cast<unsigned char*>(hooks.realloc(bytes, size / 2, hooks.mem_user_data));
    CHECK(std::all_of(bytes, bytes + size / 2, [](unsigned char byte) { return byte == 7; }));
    hooks.free(bytes, hooks.mem_user_data);
    bytes = static_cast<unsigned char*>(hooks.calloc(2, size, hooks.mem_user_data));
    CHECK(std::all_of(bytes, bytes + 2 * size, [](unsigned char byte) { return byte == 0; }));
    hooks.free(bytes, hooks.mem_user_data);
  }
  CHECK(hooks.calloc(SIZE_MAX, 2, hooks.mem_user_data) == nullptr);
  hooks.free(nullptr, hooks.mem_user_data);
}

struct Item : Posted {
  int thread = 0;
  int number = 0;
};

TEST_CASE("what many threads post arrives once, each thread's in order") {
  constexpr int kThreads = 4;
  constexpr int kChains = 500;
  PostQueue queue;
  std::vector<std::vector<Item>> items(kThreads, std::vector<Item>(3 * kChains));
  std::vector<std::thread> threads;
  for (int t = 0; t < kThreads; ++t) {
    threads.emplace_back([&queue, &mine = items[static_cast<std::size_t>(t)], t] {
      for (std::size_t first = 0; first < mine.size();) {
        const std::size_t last = std::min(first + first % 3, mine.size() - 1);
        for (std::size_t i = first; i <= last; ++i) {
          mine[i].thread = t;
          mine[i].number = static_cast<int>(i);
          if (i != last) mine[i].next = &mine[i + 1];
        }
        queue.push(&mine[first], &mine[last]);
        first = last + 1;
      }
    });
  }
  std::vector<int> seen(kThreads, 0);
  int total = 0;
  while (total < kThreads * 3 * kChains) {
    for (Posted* posted = queue.take_all(); posted != nullptr; posted = posted->next) {
      const auto* item = static_cast<const Item*>(posted);
      REQUIRE(item->number == seen[static_cast<std::size_t>(item->thread)]++);
      ++total;
    }
  }
  for (std::thread& thread : threads) thread.join();
  CHECK(queue.empty());
}

}  // namespace
}  // namespace penstock::grpc
