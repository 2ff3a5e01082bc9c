// What a request's HEADERS say.
#pragma once

#include <nghttp2/nghttp2.h>

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "base/clock.h"
#include "base/status.h"
#include "grpc/method_table.h"

namespace penstock::grpc {

/// Why a request is not served. HTTP's own errors are for peers that do not
/// speak gRPC; others get 200 and a gRPC status (doc/PROTOCOL-HTTP2.md).
struct Refusal {
  std::string_view http_status;
  Status status;
};

class RequestHeaders {
 public:
  RequestHeaders() = default;
  RequestHeaders(const RequestHeaders&) = delete;
  RequestHeaders& operator=(const RequestHeaders&) = delete;
  ~RequestHeaders() { reset(); }

  /// Fields beyond `max_bytes` (counted as RFC 9113 section 6.5.2 does) are
  /// not kept.
  void add(nghttp2_rcbuf* name, nghttp2_rcbuf* value, const MethodTable& methods,
           std::uint32_t max_bytes);
  /// Once all fields are there.
  std::optional<Refusal> check(std::uint32_t max_bytes) const;

  /// Valid if check() refuses nothing.
  std::uint32_t method() const { return *method_; }
  std::optional<Nanos> timeout() const { return timeout_; }
  bool gzip_request() const { return encoding_ == Encoding::kGzip; }
  bool gzip_accepted() const { return gzip_accepted_; }
  bool too_large(std::uint32_t max_bytes) const { return bytes_ > max_bytes; }

  std::string_view metadata(std::string_view name) const;
  void reset();

 private:
  enum class Encoding : std::uint8_t { kIdentity, kGzip, kUnknown };

  std::vector<std::pair<nghttp2_rcbuf*, nghttp2_rcbuf*>> metadata_;
  std::optional<std::uint32_t> method_;
  std::optional<Nanos> timeout_;
  std::uint64_t bytes_ = 0;
  Encoding encoding_ = Encoding::kIdentity;
  bool post_ = false;
  bool grpc_content_ = false;
  bool bad_timeout_ = false;
  bool gzip_accepted_ = false;
  std::string path_;  // these four as sent, kept for an error's text only
  std::string http_method_;
  std::string content_type_;
  std::string bad_value_;
};

}  // namespace penstock::grpc
