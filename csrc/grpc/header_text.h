// The small languages of gRPC's headers: timeouts, percent-encoding, lists
// (grpc/grpc doc/PROTOCOL-HTTP2.md).
#pragma once

#include <cstddef>
#include <optional>
#include <string>
#include <string_view>

#include "base/clock.h"

namespace penstock::grpc {

/// "grpc-timeout": one to eight digits and one of H M S m u n. Nothing if
/// `text` is not one.
std::optional<Nanos> parse_timeout(std::string_view text);

/// "grpc-message": percent-encodes what is not printable ASCII, and '%'. A text
/// that would need more than `limit` bytes is cut between two characters and
/// ends in "...".
std::string encode_message(std::string_view text, std::size_t limit);

/// Whether `media_type` is application/grpc, with or without "+proto" and
/// parameters.
bool is_grpc_content_type(std::string_view media_type);

/// Whether a comma-separated list such as grpc-accept-encoding holds `item`.
bool list_contains(std::string_view list, std::string_view item);

}  // namespace penstock::grpc
