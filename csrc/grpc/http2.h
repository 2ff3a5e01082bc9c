// nghttp2, wrapped: what all sessions of a server share.
#pragma once

#include <nghttp2/nghttp2.h>

#include <array>
#include <cstdint>
#include <memory>
#include <string_view>

#include "grpc/server.h"

namespace penstock::grpc {

/// Upload a peer may have under way: per stream, and on all streams together.
inline constexpr std::int32_t kStreamWindow = 1 << 20;
inline constexpr std::int32_t kConnectionWindow = 4 << 20;

struct Http2Deleter {
  void operator()(nghttp2_session* session) const { nghttp2_session_del(session); }
  void operator()(nghttp2_session_callbacks* callbacks) const {
    nghttp2_session_callbacks_del(callbacks);
  }
  void operator()(nghttp2_option* option) const { nghttp2_option_del(option); }
};
using Http2Session = std::unique_ptr<nghttp2_session, Http2Deleter>;

/// A header field for nghttp2. Constants are neither copied nor kept out of
/// HPACK's table: from their second use on they cost one byte.
inline nghttp2_nv constant_field(std::string_view name, std::string_view value) {
  return {reinterpret_cast<std::uint8_t*>(const_cast<char*>(name.data())),
          reinterpret_cast<std::uint8_t*>(const_cast<char*>(value.data())), name.size(),
          value.size(), NGHTTP2_NV_FLAG_NO_COPY_NAME | NGHTTP2_NV_FLAG_NO_COPY_VALUE};
}

/// A field whose value nghttp2 copies and does not index.
inline nghttp2_nv variable_field(std::string_view name, std::string_view value) {
  nghttp2_nv field = constant_field(name, value);
  field.flags = NGHTTP2_NV_FLAG_NO_COPY_NAME | NGHTTP2_NV_FLAG_NO_INDEX;
  return field;
}

inline std::string_view text_of(nghttp2_rcbuf* buffer) {
  const nghttp2_vec bytes = nghttp2_rcbuf_get_buf(buffer);
  return {reinterpret_cast<const char*>(bytes.base), bytes.len};
}

/// Callbacks, options and SETTINGS of every session of one server.
class Http2Setup {
 public:
  explicit Http2Setup(const Limits& limits);

  /// A server session that calls back into `session` (a grpc::Session) and takes
  /// its memory from `memory`, with its SETTINGS submitted; null if memory ran out.
  Http2Session make_session(void* session, nghttp2_mem* memory) const;

 private:
  std::unique_ptr<nghttp2_session_callbacks, Http2Deleter> callbacks_;
  std::unique_ptr<nghttp2_option, Http2Deleter> option_;
  std::array<nghttp2_settings_entry, 4> settings_;
};

}  // namespace penstock::grpc
