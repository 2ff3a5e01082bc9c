#include "net/tls.h"

#include <openssl/err.h>

#include <string_view>
#include <system_error>
#include <utility>

namespace penstock::net {
namespace {

// RFC 7540 section 3.3: HTTP/2 over TLS must be negotiated.
int choose_h2(SSL*, const unsigned char** chosen, unsigned char* chosen_length,
              const unsigned char* offered, unsigned offered_length, void*) {
  for (unsigned at = 0; at < offered_length; at += 1u + offered[at]) {
    const std::string_view protocol(reinterpret_cast<const char*>(offered + at + 1), offered[at]);
    if (protocol != "h2") continue;
    *chosen = offered + at + 1;
    *chosen_length = offered[at];
    return SSL_TLSEXT_ERR_OK;
  }
  return SSL_TLSEXT_ERR_ALERT_FATAL;
}

Status misfit(const char* what, const std::string& file) {
  // The first error is the cause, what follows is its consequences.
  const unsigned long error = ERR_get_error();
  const char* known = ERR_reason_error_string(error);
  std::string reason = known == nullptr ? "unreadable" : known;
  if (ERR_SYSTEM_ERROR(error)) reason = std::generic_category().message(ERR_GET_REASON(error));
  ERR_clear_error();
  return {Code::kInvalidArgument, std::string("cannot use ") + what + " " + file + ": " + reason};
}

}  // namespace

Status TlsContext::load(const std::string& certificate, const std::string& key,
                        const std::string& client_ca, std::shared_ptr<const TlsContext>* context) {
  ERR_clear_error();
  auto made = std::make_shared<TlsContext>();
  made->context_.reset(SSL_CTX_new(TLS_server_method()));
  SSL_CTX* ssl = made->context_.get();
  if (ssl == nullptr) return {Code::kInternal, "OpenSSL cannot make a TLS context"};
  SSL_CTX_set_min_proto_version(ssl, TLS1_2_VERSION);
  SSL_CTX_set_options(ssl, SSL_OP_NO_RENEGOTIATION | SSL_OP_NO_COMPRESSION |
                               SSL_OP_CIPHER_SERVER_PREFERENCE | SSL_OP_IGNORE_UNEXPECTED_EOF);
  // Idle connections hold no record buffers.
  SSL_CTX_set_mode(ssl, SSL_MODE_RELEASE_BUFFERS | SSL_MODE_ENABLE_PARTIAL_WRITE |
                            SSL_MODE_ACCEPT_MOVING_WRITE_BUFFER);
  SSL_CTX_set_alpn_select_cb(ssl, &choose_h2, nullptr);
  // RFC 9113 section 9.2.2: with TLS 1.2 only AEAD suites with ephemeral keys.
  SSL_CTX_set_cipher_list(ssl, "ECDHE+AESGCM:ECDHE+CHACHA20");
  if (SSL_CTX_use_certificate_chain_file(ssl, certificate.c_str()) != 1) {
    return misfit("the certificate", certificate);
  }
  if (SSL_CTX_use_PrivateKey_file(ssl, key.c_str(), SSL_FILETYPE_PEM) != 1) {
    return misfit("the private key", key);
  }
  if (SSL_CTX_check_private_key(ssl) != 1) return misfit("the private key", key);
  if (!client_ca.empty()) {
    if (SSL_CTX_load_verify_locations(ssl, client_ca.c_str(), nullptr) != 1) {
      return misfit("the client certificate authority", client_ca);
    }
    SSL_CTX_set_client_CA_list(ssl, SSL_load_client_CA_file(client_ca.c_str()));
    SSL_CTX_set_verify(ssl, SSL_VERIFY_PEER | SSL_VERIFY_FAIL_IF_NO_PEER_CERT, nullptr);
    // Sessions resumed under an identity need a context of their own name.
    static constexpr unsigned char kName[] = "penstock";
    SSL_CTX_set_session_id_context(ssl, kName, sizeof kName - 1);
  }
  *context = std::move(made);
  return {};
}

SslHandle TlsContext::wrap(int fd) const {
  SslHandle ssl(SSL_new(context_.get()));
  if (ssl == nullptr || SSL_set_fd(ssl.get(), fd) != 1) return nullptr;
  SSL_set_accept_state(ssl.get());
  return ssl;
}

}  // namespace penstock::net
