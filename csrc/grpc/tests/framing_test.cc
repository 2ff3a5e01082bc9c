#include "grpc/framing.h"

#include <doctest/doctest.h>

#include <string>
#include <string_view>
#include <vector>

namespace penstock::grpc {
namespace {

using Event = MessageReader::Event;

std::span<const std::uint8_t> bytes(std::string_view text) {
  return {reinterpret_cast<const std::uint8_t*>(text.data()), text.size()};
}

std::string framed(std::string_view text, bool compressed = false) {
  std::string message(kMessagePrefix, '\0');
  message.append(text);
  write_prefix(reinterpret_cast<std::uint8_t*>(message.data()), message.size(), compressed);
  return message;
}

// Feeds `pieces` one after the other; returns the messages.
std::vector<std::string> read_all(MessageReader& reader, const std::vector<std::string>& pieces) {
  std::vector<std::string> messages;
  for (const std::string& piece : pieces) {
    std::span<const std::uint8_t> input = bytes(piece);
    for (bool more = true; more;) {
      switch (reader.read(&input)) {
        case Event::kPrefix:
          reader.accept(Buffer());
          break;
        case Event::kMessage:
          messages.emplace_back(reader.take().view());
          break;
        case Event::kNeedMore:
          more = false;
          break;
        case Event::kBadFlag:
          return messages;
      }
    }
    CHECK(input.empty());
  }
  return messages;
}

TEST_CASE("a message split at any two points comes out whole") {
  const std::string wire = framed("hello world");
  for (std::size_t first = 0; first <= wire.size(); ++first) {
    for (std::size_t second = first; second <= wire.size(); ++second) {
      MessageReader reader;
      const auto messages = read_all(
          reader, {wire.substr(0, first), wire.substr(first, second - first), wire.substr(second)});
      REQUIRE(messages == std::vector<std::string>{"hello world"});
      REQUIRE_FALSE(reader.inside_message());
    }
  }
}

TEST_CASE("several messages in one piece, the empty one among them") {
  MessageReader reader;
  const auto messages =
      read_all(reader, {framed("a") + framed("") + framed("ccc") + framed("d").substr(0, 3)});
  CHECK(messages == std::vector<std::string>{"a", "", "ccc"});
  CHECK(reader.inside_message());
}

TEST_CASE("the input may end only between messages") {
  const std::string wire = framed("hello");
  for (std::size_t size = 1; size < wire.size(); ++size) {
    MessageReader reader;
    CHECK(read_all(reader, {wire.substr(0, size)}).empty());
    CHECK(reader.inside_message());
  }
}

TEST_CASE("the prefix tells length and flag before anything is set aside") {
  MessageReader reader;
  const std::string prefix("\x01\xff\xff\xff\xfe", 5);
  std::span<const std::uint8_t> input = bytes(prefix);
  REQUIRE(reader.read(&input) == Event::kPrefix);
  CHECK(reader.compressed());
  CHECK(reader.length() == 0xfffffffeu);
  CHECK(reader.received() == 0);
}

TEST_CASE("a promise of gigabytes sets little aside") {
  MessageReader reader;
  const std::string wire = std::string("\x00\x7f\xff\xff\xff", 5) + "some";
  std::span<const std::uint8_t> input = bytes(wire);
  REQUIRE(reader.read(&input) == Event::kPrefix);
  reader.accept(Buffer());
  REQUIRE(reader.read(&input) == Event::kNeedMore);
  CHECK(reader.received() == 4);
}

TEST_CASE("a large message grows its buffer to its length and no further") {
  MessageReader reader;
  const std::string wire = framed(std::string(3 * kReserveAhead + 17, 'x'));
  std::span<const std::uint8_t> input = bytes(wire);
  REQUIRE(reader.read(&input) == Event::kPrefix);
  reader.accept(Buffer());
  std::size_t at = kMessagePrefix;
  Event event = Event::kNeedMore;
  while (at < wire.size()) {
    std::span<const std::uint8_t> piece = bytes(std::string_view(wire).substr(at, 16'384));
    at += piece.size();
    event = reader.read(&piece);
  }
  REQUIRE(event == Event::kMessage);
  const Buffer message = reader.take();
  CHECK(message.size() == wire.size() - kMessagePrefix);
  CHECK(message.capacity() == message.size());
}

TEST_CASE("a flag that is neither 0 nor 1 ends the reading") {
  MessageReader reader;
  const std::string wire("\x02\x00\x00\x00\x00", 5);
  std::span<const std::uint8_t> input = bytes(wire);
  CHECK(reader.read(&input) == Event::kBadFlag);
  CHECK(reader.flag() == 2);
}

TEST_CASE("reset forgets a message under way") {
  MessageReader reader;
  read_all(reader, {framed("hello").substr(0, 7)});
  reader.reset();
  CHECK_FALSE(reader.inside_message());
  CHECK(read_all(reader, {framed("next")}) == std::vector<std::string>{"next"});
}

}  // namespace
}  // namespace penstock::grpc
