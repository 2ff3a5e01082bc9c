#include "grpc/request_headers.h"

#include "grpc/header_text.h"
#include "grpc/http2.h"

namespace penstock::grpc {
namespace {

// RFC 9113 section 6.5.2: what a field counts beyond its name and value.
constexpr std::size_t kFieldOverhead = 32;
// As much of a strange value as an error's text repeats.
constexpr std::size_t kQuoted = 200;

std::string quote(std::string_view text) {
  return "\"" + std::string(text.substr(0, kQuoted)) + (text.size() > kQuoted ? "...\"" : "\"");
}

}  // namespace

void RequestHeaders::add(nghttp2_rcbuf* name_buffer, nghttp2_rcbuf* value_buffer,
                         const MethodTable& methods, std::uint32_t max_bytes) {
  const std::string_view name = text_of(name_buffer);
  const std::string_view value = text_of(value_buffer);
  bytes_ += name.size() + value.size() + kFieldOverhead;
  if (bytes_ > max_bytes) return;
  switch (name.size()) {
    case 2:
      if (name == "te") return;
      break;
    case 5:
      if (name == ":path") {
        method_ = methods.find(value);
        if (!method_) path_ = value.substr(0, kQuoted + 1);
        return;
      }
      break;
    case 7:
      if (name == ":method") {
        post_ = value == "POST";
        if (!post_) http_method_ = value.substr(0, kQuoted + 1);
        return;
      }
      if (name == ":scheme") return;
      break;
    case 10:
      if (name == ":authority") return;
      break;
    case 12:
      if (name == "content-type") {
        grpc_content_ = is_grpc_content_type(value);
        if (!grpc_content_) content_type_ = value.substr(0, kQuoted + 1);
        return;
      }
      if (name == "grpc-timeout") {
        timeout_ = parse_timeout(value);
        bad_timeout_ = !timeout_;
        if (bad_timeout_) bad_value_ = value.substr(0, kQuoted + 1);
        return;
      }
      break;
    case 13:
      if (name == "grpc-encoding") {
        encoding_ = value == "identity" ? Encoding::kIdentity
                    : value == "gzip"   ? Encoding::kGzip
                                        : Encoding::kUnknown;
        if (encoding_ == Encoding::kUnknown) bad_value_ = value.substr(0, kQuoted + 1);
        return;
      }
      break;
    case 20:
      if (name == "grpc-accept-encoding") {
        gzip_accepted_ = list_contains(value, "gzip");
        return;
      }
      break;
    default:
      break;
  }
  nghttp2_rcbuf_incref(name_buffer);
  nghttp2_rcbuf_incref(value_buffer);
  metadata_.emplace_back(name_buffer, value_buffer);
}

std::optional<Refusal> RequestHeaders::check(std::uint32_t max_bytes) const {
  if (bytes_ > max_bytes) {
    return Refusal{
        "200",
        {Code::kResourceExhausted, "the request's headers have " + std::to_string(bytes_) +
                                       " bytes, max_header_bytes is " + std::to_string(max_bytes)}};
  }
  if (!post_) {
    return Refusal{
        "405", {Code::kUnimplemented, "a gRPC request is a POST, not a " + quote(http_method_)}};
  }
  if (!grpc_content_) {
    return Refusal{
        "415",
        {Code::kInvalidArgument,
         "the content-type of a gRPC request is application/grpc, not " + quote(content_type_)}};
  }
  if (!method_) {
    return Refusal{"200", {Code::kUnimplemented, "there is no method " + quote(path_)}};
  }
  if (bad_timeout_) {
    return Refusal{"200",
                   {Code::kInvalidArgument,
                    "grpc-timeout is " + quote(bad_value_) +
                        ", expected one to eight digits and a unit of H, M, S, m, u, n"}};
  }
  if (encoding_ == Encoding::kUnknown) {
    return Refusal{"200",
                   {Code::kUnimplemented,
                    "grpc-encoding is " + quote(bad_value_) + ", supported are identity and gzip"}};
  }
  return std::nullopt;
}

std::string_view RequestHeaders::metadata(std::string_view name) const {
  for (const auto& [key, value] : metadata_) {
    if (text_of(key) == name) return text_of(value);
  }
  return {};
}

void RequestHeaders::reset() {
  for (const auto& [name, value] : metadata_) {
    nghttp2_rcbuf_decref(name);
    nghttp2_rcbuf_decref(value);
  }
  metadata_.clear();
  method_.reset();
  timeout_.reset();
  bytes_ = 0;
  encoding_ = Encoding::kIdentity;
  post_ = grpc_content_ = bad_timeout_ = gzip_accepted_ = false;
  path_.clear();
  http_method_.clear();
  content_type_.clear();
  bad_value_.clear();
}

}  // namespace penstock::grpc
