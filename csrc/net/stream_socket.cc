#include "net/stream_socket.h"

#include <openssl/err.h>
#include <sys/socket.h>

#include <algorithm>
#include <cerrno>
#include <climits>

namespace penstock::net {

IoResult StreamSocket::from_ssl_error(int result) const {
  const int error = SSL_get_error(ssl_.get(), result);
  ERR_clear_error();
  switch (error) {
    case SSL_ERROR_WANT_READ:
      return {IoState::kWantRead};
    case SSL_ERROR_WANT_WRITE:
      return {IoState::kWantWrite};
    case SSL_ERROR_ZERO_RETURN:
      return {IoState::kClosed};
    default:
      return {IoState::kFailed};
  }
}

IoResult StreamSocket::handshake() {
  if (ssl_ == nullptr) return {secure_ ? IoState::kFailed : IoState::kDone};
  const int result = SSL_do_handshake(ssl_.get());
  if (result != 1) return from_ssl_error(result);
  const unsigned char* protocol = nullptr;
  unsigned length = 0;
  SSL_get0_alpn_selected(ssl_.get(), &protocol, &length);
  return {length == 0 ? IoState::kFailed : IoState::kDone};
}

IoResult StreamSocket::read(std::span<std::uint8_t> into) {
  if (ssl_ != nullptr) {
    // One record a call (16 KiB): gather as many as fit.
    std::size_t total = 0;
    while (total < into.size()) {
      const auto room = static_cast<int>(std::min<std::size_t>(into.size() - total, INT_MAX));
      const int count = SSL_read(ssl_.get(), into.data() + total, room);
      if (count <= 0) {
        const IoResult failed = from_ssl_error(count);
        if (total == 0) return failed;
        break;
      }
      total += static_cast<std::size_t>(count);
    }
    return {IoState::kDone, total};
  }
  for (;;) {
    const ssize_t count = ::recv(fd_.get(), into.data(), into.size(), 0);
    if (count > 0) return {IoState::kDone, static_cast<std::size_t>(count)};
    if (count == 0) return {IoState::kClosed};
    if (errno == EINTR) continue;
    return {errno == EAGAIN || errno == EWOULDBLOCK ? IoState::kWantRead : IoState::kFailed};
  }
}

IoResult StreamSocket::write(std::span<const iovec> pieces) {
  if (ssl_ != nullptr) {
    std::size_t total = 0;
    for (const iovec& piece : pieces) {
      std::size_t done = 0;
      while (done < piece.iov_len) {
        const auto length = static_cast<int>(std::min<std::size_t>(piece.iov_len - done, INT_MAX));
        const int count =
            SSL_write(ssl_.get(), static_cast<const char*>(piece.iov_base) + done, length);
        if (count <= 0) {
          const IoResult failed = from_ssl_error(count);
          return total + done > 0 && failed.state == IoState::kWantWrite
                     ? IoResult{IoState::kDone, total + done}
                     : failed;
        }
        done += static_cast<std::size_t>(count);
      }
      total += done;
    }
    return {IoState::kDone, total};
  }
  for (;;) {
    ssize_t count;
    if (pieces.size() == 1) {
      count = ::send(fd_.get(), pieces[0].iov_base, pieces[0].iov_len, MSG_NOSIGNAL);
    } else {
      msghdr message{};
      message.msg_iov = const_cast<iovec*>(pieces.data());
      message.msg_iovlen = pieces.size();
      count = ::sendmsg(fd_.get(), &message, MSG_NOSIGNAL);
    }
    if (count >= 0) return {IoState::kDone, static_cast<std::size_t>(count)};
    if (errno == EINTR) continue;
    return {errno == EAGAIN || errno == EWOULDBLOCK ? IoState::kWantWrite : IoState::kFailed};
  }
}

void StreamSocket::shutdown_write() {
  if (ssl_ != nullptr && SSL_is_init_finished(ssl_.get())) {
    SSL_shutdown(ssl_.get());
    ERR_clear_error();
  }
  ::shutdown(fd_.get(), SHUT_WR);
}

}  // namespace penstock::net
