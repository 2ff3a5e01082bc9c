#include "grpc/tests/test_client.h"

#include <arpa/inet.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <sys/socket.h>
#include <sys/un.h>

#include <algorithm>
#include <cerrno>
#include <cstring>

namespace penstock::grpc::testing {

std::string framed(std::string_view message, bool compressed) {
  std::string wire(1, compressed ? '\1' : '\0');
  for (int shift = 24; shift >= 0; shift -= 8) {
    wire.push_back(static_cast<char>(message.size() >> shift));
  }
  return wire.append(message);
}

std::string Reply::field(std::string_view name) const {
  for (const auto& [key, value] : fields) {
    if (key == name) return value;
  }
  return {};
}

int Reply::status() const {
  const std::string text = field("grpc-status");
  return text.empty() ? -1 : std::stoi(text);
}

std::vector<std::string> Reply::messages() const {
  std::vector<std::string> all;
  for (std::size_t at = 0; at < body.size();) {
    std::size_t size = 0;
    for (std::size_t i = 1; i < 5; ++i) {
      size = size << 8 | static_cast<unsigned char>(body.at(at + i));
    }
    all.push_back(body.substr(at + 5, size));
    at += 5 + size;
  }
  return all;
}

struct TestClient::Callbacks {
  static TestClient& self(void* user_data) { return *static_cast<TestClient*>(user_data); }

  static int header(nghttp2_session*, const nghttp2_frame* frame, const std::uint8_t* name,
                    std::size_t name_size, const std::uint8_t* value, std::size_t value_size,
                    std::uint8_t, void* user_data) {
    self(user_data).replies[frame->hd.stream_id].fields.emplace_back(
        std::string(reinterpret_cast<const char*>(name), name_size),
        std::string(reinterpret_cast<const char*>(value), value_size));
    return 0;
  }

  static int frame(nghttp2_session*, const nghttp2_frame* frame, void* user_data) {
    TestClient& client = self(user_data);
    switch (frame->hd.type) {
      case NGHTTP2_HEADERS:
        client.replies[frame->hd.stream_id].headers = true;
        break;
      case NGHTTP2_GOAWAY:
        ++client.goaways;
        client.goaway_error = frame->goaway.error_code;
        client.goaway_last = frame->goaway.last_stream_id;
        client.goaway_text.assign(reinterpret_cast<const char*>(frame->goaway.opaque_data),
                                  frame->goaway.opaque_data_len);
        break;
      case NGHTTP2_PING:
        ++((frame->hd.flags & NGHTTP2_FLAG_ACK) != 0 ? client.pongs : client.pings);
        break;
      case NGHTTP2_WINDOW_UPDATE:
        ++client.window_updates;
        break;
      case NGHTTP2_SETTINGS:
        for (std::size_t i = 0; i < frame->settings.niv; ++i) {
          client.server_settings[frame->settings.iv[i].settings_id] = frame->settings.iv[i].value;
        }
        break;
      default:
        break;
    }
    return 0;
  }

  static int data(nghttp2_session* session, std::uint8_t, std::int32_t stream,
                  const std::uint8_t* bytes, std::size_t size, void* user_data) {
    TestClient& client = self(user_data);
    client.replies[stream].body.append(reinterpret_cast<const char*>(bytes), size);
    if (client.options_.open_window) nghttp2_session_consume(session, stream, size);
    return 0;
  }

  static int close(nghttp2_session*, std::int32_t stream, std::uint32_t error, void* user_data) {
    Reply& reply = self(user_data).replies[stream];
    reply.closed = true;
    reply.error = error;
    return 0;
  }

  static ssize_t read(nghttp2_session*, std::int32_t, std::uint8_t* into, std::size_t room,
                      std::uint32_t* flags, nghttp2_data_source* source, void*) {
    auto* upload = static_cast<Upload*>(source->ptr);
    const std::size_t count = std::min(room, upload->bytes.size() - upload->sent);
    if (count == 0 && !upload->end) return NGHTTP2_ERR_DEFERRED;
    std::memcpy(into, upload->bytes.data() + upload->sent, count);
    upload->sent += count;
    if (upload->end && upload->sent == upload->bytes.size()) *flags |= NGHTTP2_DATA_FLAG_EOF;
    return static_cast<ssize_t>(count);
  }
};

TestClient::TestClient(std::uint16_t port, ClientOptions options) : options_(std::move(options)) {
  socket_ = net::Fd(::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0));
  if (!options_.open_window) {
    const int small = 4'096;
    setsockopt(socket_.get(), SOL_SOCKET, SO_RCVBUF, &small, sizeof small);
  }
  sockaddr_in address{};
  address.sin_family = AF_INET;
  address.sin_port = htons(port);
  address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
  connected_ = ::connect(socket_.get(), reinterpret_cast<sockaddr*>(&address), sizeof address) == 0;
  const int on = 1;
  setsockopt(socket_.get(), IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
  start();
}

TestClient::TestClient(const std::string& unix_path, ClientOptions options)
    : options_(std::move(options)) {
  socket_ = net::Fd(::socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0));
  sockaddr_un address{};
  address.sun_family = AF_UNIX;
  std::memcpy(address.sun_path, unix_path.data(), unix_path.size());
  connected_ = ::connect(socket_.get(), reinterpret_cast<sockaddr*>(&address), sizeof address) == 0;
  start();
}

TestClient::~TestClient() {
  nghttp2_session_del(session_);
  SSL_free(ssl_);
}

void TestClient::start() {
  if (connected_ && options_.tls != nullptr) {
    ssl_ = SSL_new(options_.tls);
    SSL_set_fd(ssl_, socket_.get());
    const std::string offer = static_cast<char>(options_.protocol.size()) + options_.protocol;
    SSL_set_alpn_protos(ssl_, reinterpret_cast<const unsigned char*>(offer.data()),
                        static_cast<unsigned>(offer.size()));
    connected_ = SSL_connect(ssl_) == 1;
  }
  if (!connected_) return;
  ::fcntl(socket_.get(), F_SETFL, O_NONBLOCK);
  if (options_.raw) return;
  nghttp2_session_callbacks* callbacks = nullptr;
  nghttp2_session_callbacks_new(&callbacks);
  nghttp2_session_callbacks_set_on_header_callback(callbacks, &Callbacks::header);
  nghttp2_session_callbacks_set_on_frame_recv_callback(callbacks, &Callbacks::frame);
  nghttp2_session_callbacks_set_on_data_chunk_recv_callback(callbacks, &Callbacks::data);
  nghttp2_session_callbacks_set_on_stream_close_callback(callbacks, &Callbacks::close);
  nghttp2_option* option = nullptr;
  nghttp2_option_new(&option);
  nghttp2_option_set_no_auto_window_update(option, 1);
  nghttp2_session_client_new2(&session_, callbacks, this, option);
  nghttp2_option_del(option);
  nghttp2_session_callbacks_del(callbacks);
  const nghttp2_settings_entry window = {NGHTTP2_SETTINGS_INITIAL_WINDOW_SIZE,
                                         static_cast<std::uint32_t>(options_.window)};
  nghttp2_submit_settings(session_, NGHTTP2_FLAG_NONE, &window, 1);
  if (options_.window > 65'535) {
    nghttp2_session_set_local_window_size(session_, NGHTTP2_FLAG_NONE, 0, options_.window);
  }
}

Fields TestClient::request_fields(std::string_view path, const Fields& more) {
  Fields fields = {{":method", "POST"},          {":scheme", "http"},
                   {":path", std::string(path)}, {":authority", "test"},
                   {"te", "trailers"},           {"content-type", "application/grpc"}};
  for (const auto& [name, value] : more) {
    const auto same = [&key = name](const auto& field) { return field.first == key; };
    const auto found = std::find_if(fields.begin(), fields.end(), same);
    if (found == fields.end()) {
      fields.emplace_back(name, value);
    } else if (value.empty()) {
      fields.erase(found);
    } else {
      found->second = value;
    }
  }
  return fields;
}

std::int32_t TestClient::request(std::string_view path, std::string body, bool end,
                                 const Fields& more) {
  return request_raw(request_fields(path, more), std::move(body), end);
}

std::int32_t TestClient::request_raw(const Fields& fields, std::string body, bool end) {
  std::vector<nghttp2_nv> list;
  for (const auto& [name, value] : fields) {
    list.push_back({reinterpret_cast<std::uint8_t*>(const_cast<char*>(name.data())),
                    reinterpret_cast<std::uint8_t*>(const_cast<char*>(value.data())), name.size(),
                    value.size(), NGHTTP2_NV_FLAG_NONE});
  }
  const auto stream = static_cast<std::int32_t>(nghttp2_session_get_next_stream_id(session_));
  Upload& upload = uploads_[stream];
  upload.bytes = std::move(body);
  upload.end = end;
  nghttp2_data_provider data{};
  data.source.ptr = &upload;
  data.read_callback = &Callbacks::read;
  const bool empty = upload.bytes.empty() && end;
  return nghttp2_submit_request(session_, nullptr, list.data(), list.size(),
                                empty ? nullptr : &data, nullptr);
}

void TestClient::send(std::int32_t stream, std::string_view bytes, bool end) {
  Upload& upload = uploads_[stream];
  upload.bytes.append(bytes);
  upload.end = end;
  nghttp2_session_resume_data(session_, stream);
}

void TestClient::reset(std::int32_t stream, std::uint32_t error) {
  nghttp2_submit_rst_stream(session_, NGHTTP2_FLAG_NONE, stream, error);
}

void TestClient::ping() { nghttp2_submit_ping(session_, NGHTTP2_FLAG_NONE, nullptr); }

void TestClient::settings() { nghttp2_submit_settings(session_, NGHTTP2_FLAG_NONE, nullptr, 0); }

Reply TestClient::call(std::string_view path, std::string body, const Fields& more) {
  const std::int32_t stream = request(path, std::move(body), true, more);
  finish(stream);
  return replies[stream];
}

bool TestClient::write(std::string_view bytes) {
  while (!bytes.empty()) {
    const ssize_t count = ssl_ != nullptr
                              ? SSL_write(ssl_, bytes.data(), static_cast<int>(bytes.size()))
                              : ::send(socket_.get(), bytes.data(), bytes.size(), MSG_NOSIGNAL);
    if (count <= 0) {
      pollfd waiting{socket_.get(), POLLOUT, 0};
      if (::poll(&waiting, 1, 1'000) <= 0 || (waiting.revents & (POLLERR | POLLHUP)) != 0) {
        return false;
      }
      continue;
    }
    bytes.remove_prefix(static_cast<std::size_t>(count));
  }
  return true;
}

std::string TestClient::read_some() {
  std::string bytes(64 * 1024, '\0');
  const ssize_t count = ssl_ != nullptr
                            ? SSL_read(ssl_, bytes.data(), static_cast<int>(bytes.size()))
                            : ::recv(socket_.get(), bytes.data(), bytes.size(), 0);
  bytes.resize(count > 0 ? static_cast<std::size_t>(count) : 0);
  const bool again = count < 0 && ssl_ == nullptr && (errno == EAGAIN || errno == EINTR);
  const bool ssl_again = count < 0 && ssl_ != nullptr &&
                         SSL_get_error(ssl_, static_cast<int>(count)) == SSL_ERROR_WANT_READ;
  if (count <= 0 && !again && !ssl_again) ended = true;
  return bytes;
}

// Moves what can be moved now, else waits for `patience`; false at the end.
bool TestClient::transfer(Nanos patience) {
  bool moved = false;
  while (unsent_.size() < (1u << 20)) {
    const std::uint8_t* bytes = nullptr;
    const ssize_t count = nghttp2_session_mem_send(session_, &bytes);
    if (count <= 0) break;
    unsent_.append(reinterpret_cast<const char*>(bytes), static_cast<std::size_t>(count));
  }
  if (!unsent_.empty()) {
    const std::size_t size = std::min(unsent_.size(), options_.write_at_most);
    const ssize_t count = ssl_ != nullptr
                              ? SSL_write(ssl_, unsent_.data(), static_cast<int>(size))
                              : ::send(socket_.get(), unsent_.data(), size, MSG_NOSIGNAL);
    if (count > 0) unsent_.erase(0, static_cast<std::size_t>(count));
    moved = count > 0;
  }
  if (!deaf_) {
    const std::string bytes = read_some();
    if (!bytes.empty()) {
      moved = true;
      if (nghttp2_session_mem_recv(session_, reinterpret_cast<const std::uint8_t*>(bytes.data()),
                                   bytes.size()) < 0) {
        ended = true;
      }
    }
  }
  if (!moved && !ended) {
    pollfd waiting{socket_.get(), static_cast<short>(deaf_ ? 0 : POLLIN), 0};
    ::poll(&waiting, 1, static_cast<int>(patience / kMillisecond));
  }
  return !ended;
}

bool TestClient::run(const std::function<bool()>& done, Nanos timeout) {
  const Nanos limit = steady_now() + timeout;
  while (!done()) {
    if (ended || steady_now() > limit) return false;
    transfer(5 * kMillisecond);
  }
  return true;
}

}  // namespace penstock::grpc::testing
