// TLS, mutual TLS and reloading, with certificates made on the spot.
#include <doctest/doctest.h>
#include <openssl/ec.h>
#include <openssl/evp.h>
#include <openssl/pem.h>
#include <openssl/x509v3.h>
#include <unistd.h>

#include <cstdio>
#include <filesystem>
#include <fstream>
#include <memory>
#include <string>

#include "grpc/tests/test_client.h"
#include "grpc/tests/test_service.h"

namespace penstock::grpc::testing {
namespace {

struct Deleter {
  void operator()(EVP_PKEY* key) const { EVP_PKEY_free(key); }
  void operator()(X509* certificate) const { X509_free(certificate); }
  void operator()(SSL_CTX* context) const { SSL_CTX_free(context); }
  void operator()(std::FILE* file) const { std::fclose(file); }
};
template <typename T>
using Owned = std::unique_ptr<T, Deleter>;

// A folder of PEM files that goes away with the test.
class Pki {
 public:
  Pki() : folder_("/tmp/penstock-pki-" + std::to_string(::getpid())) {
    std::filesystem::create_directories(folder_);
    ca_key_ = make_key();
    ca_ = make("Test CA", ca_key_.get(), nullptr);
    write("ca.pem", ca_.get(), nullptr);
  }
  ~Pki() { std::filesystem::remove_all(folder_); }

  std::string path(const std::string& name) const { return folder_ + "/" + name; }

  // name.pem and name.key, vouched for by the CA; replaces what is there.
  void issue(const std::string& name, const std::string& subject) {
    const Owned<EVP_PKEY> key = make_key();
    const Owned<X509> certificate = make(subject, key.get(), ca_.get());
    write(name + ".pem", certificate.get(), nullptr);
    write(name + ".key", nullptr, key.get());
  }

 private:
  static Owned<EVP_PKEY> make_key() { return Owned<EVP_PKEY>(EVP_EC_gen("P-256")); }

  Owned<X509> make(const std::string& subject, EVP_PKEY* key, X509* issuer) {
    Owned<X509> made(X509_new());
    X509* x = made.get();
    X509_set_version(x, 2);
    ASN1_INTEGER_set(X509_get_serialNumber(x), ++serial_);
    X509_gmtime_adj(X509_getm_notBefore(x), -60);
    X509_gmtime_adj(X509_getm_notAfter(x), 3'600);
    X509_set_pubkey(x, key);
    X509_NAME* name = X509_get_subject_name(x);
    X509_NAME_add_entry_by_txt(name, "CN", MBSTRING_ASC,
                               reinterpret_cast<const unsigned char*>(subject.c_str()), -1, -1, 0);
    X509_set_issuer_name(x, issuer == nullptr ? name : X509_get_subject_name(issuer));
    if (issuer == nullptr) {
      X509_EXTENSION* extension =
          X509V3_EXT_conf_nid(nullptr, nullptr, NID_basic_constraints, "critical,CA:TRUE");
      X509_add_ext(x, extension, -1);
      X509_EXTENSION_free(extension);
    }
    X509_sign(x, issuer == nullptr ? key : ca_key_.get(), EVP_sha256());
    return made;
  }

  void write(const std::string& name, X509* certificate, EVP_PKEY* key) const {
    const Owned<std::FILE> file(std::fopen(path(name).c_str(), "w"));
    REQUIRE(file != nullptr);
    if (certificate != nullptr) PEM_write_X509(file.get(), certificate);
    if (key != nullptr)
      PEM_write_PrivateKey(file.get(), key, nullptr, nullptr, 0, nullptr, nullptr);
  }

  const std::string folder_;
  long serial_ = 0;
  Owned<EVP_PKEY> ca_key_;
  Owned<X509> ca_;
};

Owned<SSL_CTX> client_context(const Pki& pki, const std::string& identity = "") {
  Owned<SSL_CTX> context(SSL_CTX_new(TLS_client_method()));
  SSL_CTX_load_verify_locations(context.get(), pki.path("ca.pem").c_str(), nullptr);
  SSL_CTX_set_verify(context.get(), SSL_VERIFY_PEER, nullptr);
  if (!identity.empty()) {
    SSL_CTX_use_certificate_file(context.get(), pki.path(identity + ".pem").c_str(),
                                 SSL_FILETYPE_PEM);
    SSL_CTX_use_PrivateKey_file(context.get(), pki.path(identity + ".key").c_str(),
                                SSL_FILETYPE_PEM);
  }
  return context;
}

ServerOptions tls_options(const Pki& pki, bool mutual = false) {
  ServerOptions options;
  options.tls = {pki.path("server.pem"), pki.path("server.key"),
                 mutual ? pki.path("ca.pem") : std::string()};
  return options;
}

ClientOptions over(const Owned<SSL_CTX>& context) {
  ClientOptions options;
  options.tls = context.get();
  return options;
}

TEST_CASE("calls over TLS, small and large") {
  Pki pki;
  pki.issue("server", "server");
  TestServer server(tls_options(pki));
  const Owned<SSL_CTX> context = client_context(pki);
  TestClient client(server.port, over(context));
  REQUIRE(client.connected());
  CHECK(client.call("/t.T/Echo", framed("secret")).messages() ==
        std::vector<std::string>{"secret"});
  const std::string large(8u << 20, 'x');
  CHECK((client.call("/t.T/Echo", framed(large)).messages() == std::vector<std::string>{large}));
  const std::int32_t stream = client.request("/t.T/Big", framed("5000000"));
  client.deaf(true);
  client.run([] { return false; }, 100 * kMillisecond);
  client.deaf(false);
  REQUIRE(client.finish(stream));
  CHECK(client.replies[stream].body.size() == 5'000'005);
}

TEST_CASE("TLS without ALPN h2, and cleartext on a TLS port, get nothing") {
  Pki pki;
  pki.issue("server", "server");
  TestServer server(tls_options(pki));
  const Owned<SSL_CTX> context = client_context(pki);
  ClientOptions options = over(context);
  options.protocol = "http/1.1";
  CHECK_FALSE(TestClient(server.port, options).connected());
  TestClient plain(server.port);
  CHECK_FALSE(plain.run([&] { return false; }, 5 * kSecond));
  CHECK(plain.ended);
  SSL_CTX_set_max_proto_version(context.get(), TLS1_1_VERSION);
  CHECK_FALSE(TestClient(server.port, over(context)).connected());
}

TEST_CASE("mutual TLS wants a certificate of its authority") {
  Pki pki;
  pki.issue("server", "server");
  pki.issue("client", "client");
  TestServer server(tls_options(pki, true));
  const Owned<SSL_CTX> known = client_context(pki, "client");
  TestClient client(server.port, over(known));
  REQUIRE(client.connected());
  CHECK(client.call("/t.T/Echo", framed("known")).status() == 0);
  // With TLS 1.3 a client hears of its refusal only after its own handshake.
  const Owned<SSL_CTX> unknown = client_context(pki);
  TestClient stranger(server.port, over(unknown));
  if (stranger.connected()) CHECK(stranger.call("/t.T/Echo", framed("unknown")).status() == -1);
  CHECK(server.service.messages() == 1);
}

TEST_CASE("certificates are read again for connections to come") {
  Pki pki;
  pki.issue("server", "first");
  TestServer server(tls_options(pki));
  const Owned<SSL_CTX> context = client_context(pki);
  TestClient before(server.port, over(context));
  REQUIRE(before.call("/t.T/Echo", framed("")).status() == 0);

  pki.issue("server", "second");
  REQUIRE(server.server.reload_tls().ok());
  TestClient after(server.port, over(context));
  CHECK(after.call("/t.T/Echo", framed("")).status() == 0);
  CHECK(before.call("/t.T/Echo", framed("")).status() == 0);

  std::ofstream(pki.path("server.key")) << "no key";
  const Status status = server.server.reload_tls();
  CHECK(status.code() == Code::kInvalidArgument);
  CHECK(status.message().find(pki.path("server.key")) != std::string::npos);
  TestClient still(server.port, over(context));
  CHECK(still.call("/t.T/Echo", framed("")).status() == 0);
}

TEST_CASE("files that do not fit are named, with the reason") {
  Pki pki;
  pki.issue("server", "server");
  pki.issue("other", "other");
  TestService service;
  const auto refusal = [&](const TlsOptions& tls) {
    ServerOptions options;
    options.tls = tls;
    Server server(options, service);
    const Status status = server.start();
    CHECK(status.code() == Code::kInvalidArgument);
    return status.message();
  };
  const std::string certificate = pki.path("server.pem");
  CHECK(refusal({pki.path("none.pem"), pki.path("server.key"), ""})
            .find(pki.path("none.pem") + ": No such file or directory") != std::string::npos);
  CHECK(refusal({certificate, pki.path("none.key"), ""}).find("none.key") != std::string::npos);
  CHECK(refusal({certificate, pki.path("other.key"), ""}).find("mismatch") != std::string::npos);
  CHECK(refusal({certificate, pki.path("server.key"), pki.path("server.key")}).find("authority") !=
        std::string::npos);
}

}  // namespace
}  // namespace penstock::grpc::testing
