// Many threads put chains in, one takes everything out.
#pragma once

#include <atomic>

#include "grpc/service.h"

namespace penstock::grpc {

/// A lock-free stack that is emptied whole and turned around, which makes a
/// queue. Never waits.
class PostQueue {
 public:
  /// Chains keep their inner order, and each thread's chains theirs.
  void push(Posted* first, Posted* last) {
    // The stack holds items newest first, so the chain goes in turned around.
    Posted* turned = nullptr;
    for (Posted* item = first;;) {
      Posted* const following = item->next;
      item->next = turned;
      turned = item;
      if (item == last) break;
      item = following;
    }
    Posted* top = top_.load(std::memory_order_relaxed);
    do {
      first->next = top;
    } while (!top_.compare_exchange_weak(top, turned, std::memory_order_seq_cst,
                                         std::memory_order_relaxed));
  }

  bool empty() const { return top_.load(std::memory_order_seq_cst) == nullptr; }

  /// All items, oldest first; null if there are none.
  Posted* take_all() {
    if (top_.load(std::memory_order_relaxed) == nullptr) return nullptr;
    Posted* item = top_.exchange(nullptr, std::memory_order_acquire);
    Posted* oldest = nullptr;
    while (item != nullptr) {
      Posted* const following = item->next;
      item->next = oldest;
      oldest = item;
      item = following;
    }
    return oldest;
  }

 private:
  std::atomic<Posted*> top_ = nullptr;
};

}  // namespace penstock::grpc
