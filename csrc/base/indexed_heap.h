// A priority queue whose members know their place, so that any of them leaves
// it in O(log n).
#pragma once

#include <cstddef>
#include <utility>
#include <vector>

namespace penstock {

inline constexpr std::size_t kNotInHeap = static_cast<std::size_t>(-1);

/// A 4-ary min-heap of `T*` ordered by `Key`. `Slot` tells which member of T
/// holds its place: kNotInHeap while it is in none. The keys lie beside the
/// pointers, so that sifting touches no T but those it moves. An item pushed in
/// key order costs one comparison.
template <typename T, typename Key, std::size_t T::*Slot>
class IndexedHeap {
 public:
  bool empty() const { return entries_.empty(); }
  std::size_t size() const { return entries_.size(); }
  T* top() const { return entries_.front().item; }
  const Key& top_key() const { return entries_.front().key; }

  void push(T* item, Key key) {
    entries_.push_back({std::move(key), item});
    item->*Slot = entries_.size() - 1;
    sift_up(entries_.size() - 1);
  }

  void remove(T* item) {
    const std::size_t slot = item->*Slot;
    item->*Slot = kNotInHeap;
    Entry last = std::move(entries_.back());
    entries_.pop_back();
    if (last.item == item) return;
    place(slot, std::move(last));
    if (!sift_up(slot)) sift_down(slot);
  }

  /// Moves `item` to where `key` belongs.
  void update(T* item, Key key) {
    const std::size_t slot = item->*Slot;
    entries_[slot].key = std::move(key);
    if (!sift_up(slot)) sift_down(slot);
  }

  /// Calls `visit(item)` for items whose key is below `limit`, in no order,
  /// until it returns false. Looks at no more than four items beyond each
  /// visited one.
  template <typename Visit>
  void visit_below(const Key& limit, Visit visit) const {
    std::vector<std::size_t> pending;
    if (!entries_.empty()) pending.push_back(0);
    while (!pending.empty()) {
      const std::size_t slot = pending.back();
      pending.pop_back();
      if (!(entries_[slot].key < limit)) continue;
      if (!visit(*entries_[slot].item)) return;
      for (std::size_t child = 4 * slot + 1; child <= 4 * slot + 4; ++child) {
        if (child < entries_.size()) pending.push_back(child);
      }
    }
  }

  /// Whether every item knows its place and no child precedes its parent.
  bool check_integrity() const {
    for (std::size_t slot = 0; slot < entries_.size(); ++slot) {
      if (entries_[slot].item->*Slot != slot) return false;
      if (slot > 0 && entries_[slot].key < entries_[(slot - 1) / 4].key) return false;
    }
    return true;
  }

 private:
  struct Entry {
    Key key;
    T* item;
  };

  void place(std::size_t slot, Entry entry) {
    entry.item->*Slot = slot;
    entries_[slot] = std::move(entry);
  }

  bool sift_up(std::size_t slot) {
    const std::size_t start = slot;
    Entry entry = entries_[slot];
    while (slot > 0) {
      const std::size_t parent = (slot - 1) / 4;
      if (!(entry.key < entries_[parent].key)) break;
      place(slot, entries_[parent]);
      slot = parent;
    }
    if (slot != start) place(slot, std::move(entry));
    return slot != start;
  }

  void sift_down(std::size_t slot) {
    Entry entry = entries_[slot];
    for (;;) {
      std::size_t least = 4 * slot + 1;
      if (least >= entries_.size()) break;
      const std::size_t end = least + 4 < entries_.size() ? least + 4 : entries_.size();
      for (std::size_t child = least + 1; child < end; ++child) {
        if (entries_[child].key < entries_[least].key) least = child;
      }
      if (!(entries_[least].key < entry.key)) break;
      place(slot, entries_[least]);
      slot = least;
    }
    place(slot, std::move(entry));
  }

  std::vector<Entry> entries_;
};

}  // namespace penstock
