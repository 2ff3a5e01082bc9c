#include "base/indexed_heap.h"

#include <doctest/doctest.h>

#include <algorithm>
#include <deque>
#include <random>
#include <vector>

namespace penstock {
namespace {

struct Node {
  int key = 0;
  std::size_t slot = kNotInHeap;
};
using Heap = IndexedHeap<Node, int, &Node::slot>;

TEST_CASE("an indexed heap gives its items back in key order") {
  std::mt19937 random(1);
  std::deque<Node> nodes(500);
  Heap heap;
  for (Node& node : nodes) {
    node.key = static_cast<int>(random() % 100);
    heap.push(&node, node.key);
  }
  REQUIRE(heap.check_integrity());
  int last = -1;
  while (!heap.empty()) {
    Node* top = heap.top();
    CHECK(heap.top_key() == top->key);
    CHECK(top->key >= last);
    last = top->key;
    heap.remove(top);
    CHECK(top->slot == kNotInHeap);
  }
}

TEST_CASE("any item may leave or move") {
  std::mt19937 random(2);
  std::deque<Node> nodes(300);
  Heap heap;
  std::vector<Node*> inside;
  for (int step = 0; step < 20'000; ++step) {
    Node& node = nodes[random() % nodes.size()];
    if (node.slot == kNotInHeap) {
      node.key = static_cast<int>(random() % 1000);
      heap.push(&node, node.key);
      inside.push_back(&node);
    } else if (random() % 2 == 0) {
      node.key = static_cast<int>(random() % 1000);
      heap.update(&node, node.key);
    } else {
      heap.remove(&node);
      inside.erase(std::find(inside.begin(), inside.end(), &node));
    }
    REQUIRE(heap.size() == inside.size());
    if (!inside.empty()) {
      const auto least = std::min_element(inside.begin(), inside.end(),
                                          [](Node* a, Node* b) { return a->key < b->key; });
      REQUIRE(heap.top_key() == (*least)->key);
    }
    if (step % 500 == 0) REQUIRE(heap.check_integrity());
  }
}

TEST_CASE("visit_below sees exactly the items below the limit, and stops when told") {
  std::deque<Node> nodes(200);
  Heap heap;
  for (int i = 0; i < 200; ++i) {
    nodes[static_cast<std::size_t>(i)].key = (i * 37) % 200;
    heap.push(&nodes[static_cast<std::size_t>(i)], (i * 37) % 200);
  }
  std::vector<int> seen;
  heap.visit_below(50, [&](const Node& node) {
    seen.push_back(node.key);
    return true;
  });
  std::sort(seen.begin(), seen.end());
  REQUIRE(seen.size() == 50);
  CHECK(seen.front() == 0);
  CHECK(seen.back() == 49);
  int visits = 0;
  heap.visit_below(50, [&](const Node&) { return ++visits < 7; });
  CHECK(visits == 7);
}

}  // namespace
}  // namespace penstock
