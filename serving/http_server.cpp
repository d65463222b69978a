#include "serving/http_server.h"

#include <fmt/format.h>
#include <httplib.h>
#include <sys/socket.h>

#include <atomic>
#include <csignal>
#include <ctime>
#include <random>
#include <thread>

#include "core/error.h"
#include "core/json.h"
#include "serving/api_answer.h"
#include "serving/api_error.h"
#include "serving/connections.h"

namespace elastron::serving {

using nlohmann::json;
using Clock = std::chrono::steady_clock;

namespace {

constexpr std::chrono::milliseconds kLook{250};  // between looks at whether the client is there
constexpr int kDeepest = 32;

double seconds_since(Clock::time_point t) {
  return std::chrono::duration<double>(Clock::now() - t).count();
}

std::string dumped(const json& j) { return j.dump(-1, ' ', false, json::error_handler_t::replace); }

// The same time whatever is equal.
bool same_secret(const std::string& a, const std::string& b) {
  unsigned difference = a.size() == b.size() ? 0 : 1;
  for (size_t i = 0; i < a.size(); ++i) {
    difference |= unsigned(uint8_t(a[i]) ^ uint8_t(b[i % std::max<size_t>(b.size(), 1)]));
  }
  return difference == 0;
}

std::string new_id(const char* prefix) {
  static thread_local std::mt19937_64 engine{std::random_device{}()};
  return fmt::format("{}-{:016x}{:016x}", prefix, engine(), engine());
}

// Thrown where nobody is there to be answered.
struct ClientIsGone {};

// A body of no known length would be waited for until the time is over.
void check_length(const httplib::Request& in) {
  if (in.has_header("Transfer-Encoding")) return;
  const std::string length = in.get_header_value("Content-Length");
  if (length.empty()) {
    throw ApiError(400, "invalid_request_error", "the request has no body: send a JSON object");
  }
  constexpr size_t kMostDigits = 18;  // of what fits into 64 bits
  if (length.size() > kMostDigits || length.find_first_not_of("0123456789") != length.npos) {
    throw ApiError(400, "invalid_request_error", "Content-Length is no number of bytes");
  }
}

}  // namespace

class HttpServer::Impl {
 public:
  Impl(const HttpOptions& options, const ServedModel& model, RequestQueue& queue,
       ServerMetrics& metrics);
  ~Impl() { finish(); }

  int port() const { return port_; }
  void drain() { draining_ = true; }
  void finish();

 private:
  class Call;

  void routes();
  // `parse`: (body, model) -> what it asks for.
  using Parse = ApiRequest (*)(const json&, const ServedModel&);
  void serve(Parse parse, const httplib::Request& in, httplib::Response& out,
             const httplib::ContentReader& reader);
  std::string read_body(const httplib::ContentReader& reader) const;
  void check_key(const httplib::Request& in) const;
  void fail(httplib::Response& out, const ApiError& e) const;
  json model_json() const {
    return {{"id", model_.name},
            {"object", "model"},
            {"created", began_},
            {"owned_by", "elastron"},
            {"max_model_len", model_.max_position}};
  }

  HttpOptions options_;
  const ServedModel& model_;
  RequestQueue& queue_;
  ServerMetrics& metrics_;
  httplib::Server server_;
  int port_ = 0;
  int64_t began_ = std::time(nullptr);
  std::unique_ptr<Connections> connections_;
  std::atomic<bool> draining_{false}, ended_{false};
  std::atomic<int64_t> answering_{0};
  std::thread listener_, sweeper_;
};

// One call of the interface, from its request to its answer's last byte; gives up what is not finished.
class HttpServer::Impl::Call {
 public:
  Call(Impl& server, const httplib::Request& in)
      : server_(server),
        route_(in.path),
        peer_{in.remote_addr, in.remote_port},
        socket_(server.connections_->socket_of(peer_)),
        id_(new_id(in.path.find("/chat/") == std::string::npos ? "cmpl" : "chatcmpl")) {
    server_.connections_->begin(peer_);
    ++server_.answering_;
  }
  ~Call() {
    if (submitted_ && !(answer_ && answer_->finished())) server_.queue_.cancel(call_);
    server_.metrics_.answered(route_, status_, seconds_since(began_));
    server_.connections_->end(peer_);
    --server_.answering_;
  }
  Call(const Call&) = delete;
  Call& operator=(const Call&) = delete;

  void submit(ApiRequest request) {
    request_ = std::move(request);
    answer_.emplace(request_, server_.model_, id_, int64_t(std::time(nullptr)));
    call_ = server_.queue_.submit(request_.choices);
    submitted_ = true;
    last_.assign(request_.choices.size(), {});
  }
  // The next chunks of a stream, of some choice. Throws ApiError and ClientIsGone.
  std::vector<json> next() {
    for (;;) {
      // Tokens may come faster than a look is worth.
      if (Clock::now() - looked_ > kLook) look();
      auto letter = call_.mailbox->wait(kLook);
      if (!letter) continue;
      time(*letter);
      return answer_->take(letter->choice, letter->update);
    }
  }
  const ApiAnswer& answer() const { return *answer_; }
  bool stream() const { return request_.stream; }
  const std::string& id() const { return id_; }
  void ended(int status) { status_ = status; }

 private:
  void look() {
    looked_ = Clock::now();
    if (socket_ >= 0 && Connections::is_closed(socket_)) throw ClientIsGone{};
    if (looked_ - began_ > server_.options_.answer_time) {
      throw ApiError(503, "server_error", "the answer takes too long", {}, "timeout");
    }
  }
  void time(const Mailbox::Letter& letter) {
    if (!letter.update.token) return;
    auto& last = last_[letter.choice];
    if (last) {
      server_.metrics_.token_gap(seconds_since(*last));
    } else {
      server_.metrics_.first_token(seconds_since(began_));
    }
    last = Clock::now();
  }

  Impl& server_;
  std::string route_;
  Peer peer_;
  int socket_;
  std::string id_;
  Clock::time_point began_ = Clock::now(), looked_ = began_;
  ApiRequest request_;
  std::optional<ApiAnswer> answer_;
  RequestQueue::Call call_;
  std::vector<std::optional<Clock::time_point>> last_;
  bool submitted_ = false;
  int status_ = 499;  // the client went away
};

HttpServer::Impl::Impl(const HttpOptions& options, const ServedModel& model, RequestQueue& queue,
                       ServerMetrics& metrics)
    : options_(options), model_(model), queue_(queue), metrics_(metrics) {
  std::signal(SIGPIPE, SIG_IGN);
  const auto threads = size_t(options.most_connections);
  server_.new_task_queue = [threads] { return new httplib::ThreadPool(threads); };
  // The library's own would let a second server have the same port.
  server_.set_socket_options([](socket_t socket) {
    const int yes = 1;
    setsockopt(socket, SOL_SOCKET, SO_REUSEADDR, &yes, sizeof yes);
  });
  server_.set_tcp_nodelay(true);
  server_.set_keep_alive_max_count(size_t(1) << 30);
  server_.set_read_timeout(options.receive_time);
  server_.set_write_timeout(options.receive_time);
  routes();
  port_ = options.port == 0 ? server_.bind_to_any_port(options.host)
          : server_.bind_to_port(options.host, options.port) ? options.port
                                                             : -1;
  if (port_ < 0) {
    throw UsageError(fmt::format("cannot listen on {}:{}", options.host, options.port), "--port",
                     "see that the address is this machine's and the port is free");
  }
  connections_ = std::make_unique<Connections>(port_, options.receive_time);
  listener_ = std::thread([this] { server_.listen_after_bind(); });
  sweeper_ = std::thread([this] {
    while (!ended_) {
      std::this_thread::sleep_for(std::chrono::seconds(1));
      connections_->sweep();
    }
  });
}

void HttpServer::Impl::finish() {
  if (ended_.exchange(true)) return;
  while (answering_ > 0) std::this_thread::sleep_for(std::chrono::milliseconds(20));
  server_.stop();
  listener_.join();
  sweeper_.join();
}

void HttpServer::Impl::fail(httplib::Response& out, const ApiError& e) const {
  out.status = e.status;
  if (e.status == 429 || e.status == 503) out.set_header("Retry-After", "1");
  out.set_content(dumped(error_body(e)), "application/json");
}

void HttpServer::Impl::check_key(const httplib::Request& in) const {
  if (options_.api_key.empty()) return;
  if (same_secret(in.get_header_value("Authorization"), "Bearer " + options_.api_key)) return;
  throw ApiError(401, "invalid_request_error", "the API key is missing or wrong", {},
                 "invalid_api_key");
}

// What is too long is read to its end all the same, so that the answer is seen.
std::string HttpServer::Impl::read_body(const httplib::ContentReader& reader) const {
  std::string body;
  size_t bytes = 0;
  const size_t most = size_t(options_.most_body_bytes);
  const bool whole = reader([&](const char* data, size_t n) {
    bytes += n;
    if (bytes <= most) {
      body.append(data, n);
    } else {
      body = {};
    }
    return true;
  });
  if (bytes > most) {
    throw ApiError(413, "invalid_request_error",
                   fmt::format("the body has more than {} bytes", most), {}, "body_too_large");
  }
  if (!whole) throw ApiError(400, "invalid_request_error", "the body did not come to its end");
  return body;
}

void HttpServer::Impl::serve(Parse parse, const httplib::Request& in, httplib::Response& out,
                             const httplib::ContentReader& reader) {
  std::shared_ptr<Call> call;
  const auto failed = [&](const ApiError& e) {
    fail(out, e);
    if (call) call->ended(e.status);
    if (!call) metrics_.answered(in.path, e.status, 0);
  };
  try {
    check_key(in);
    check_length(in);
    const std::string body = read_body(reader);
    call = std::make_shared<Call>(*this, in);
    out.set_header("x-request-id", call->id());
    if (draining_) throw ApiError(503, "server_error", "the server is ending");
    const json parsed = [&] {
      try {
        return parse_json_strict(
            body, "request body",
            {.max_bytes = size_t(options_.most_body_bytes), .max_depth = kDeepest});
      } catch (const InputError& e) {
        throw ApiError(400, "invalid_request_error", e.what());
      }
    }();
    call->submit(parse(parsed, model_));
    if (!call->stream()) {
      while (!call->answer().finished()) call->next();
      out.set_content(dumped(call->answer().whole()), "application/json");
      call->ended(200);
      return;
    }
  } catch (const ApiError& e) {
    return failed(e);
  } catch (const ClientIsGone&) {
    return;  // nobody reads it
  }
  out.set_header("Cache-Control", "no-cache");
  out.set_chunked_content_provider("text/event-stream",
                                   [this, call](size_t, httplib::DataSink& sink) {
                                     const auto send = [&](const json& chunk) {
                                       const std::string event = "data: " + dumped(chunk) + "\n\n";
                                       return sink.write(event.data(), event.size());
                                     };
                                     try {
                                       for (const json& chunk : call->next()) {
                                         if (!send(chunk)) return false;
                                       }
                                       if (!call->answer().finished()) return true;
                                       for (const json& chunk : call->answer().last_chunks()) {
                                         if (!send(chunk)) return false;
                                       }
                                       call->ended(200);
                                     } catch (const ApiError& e) {
                                       call->ended(e.status);
                                       if (!send(error_body(e))) return false;
                                     } catch (const ClientIsGone&) {
                                       return false;
                                     }
                                     constexpr std::string_view kDone = "data: [DONE]\n\n";
                                     if (!sink.write(kDone.data(), kDone.size())) return false;
                                     sink.done();
                                     return true;
                                   });
}

void HttpServer::Impl::routes() {
  const auto answer = [](httplib::Response& out, const json& body) {
    out.set_content(dumped(body), "application/json");
  };
  server_.Get("/health", [this, answer](const httplib::Request&, httplib::Response& out) {
    if (draining_) out.status = 503;
    answer(out, {{"status", draining_ ? "ending" : "ok"}});
  });
  server_.Get("/metrics", [this](const httplib::Request&, httplib::Response& out) {
    out.set_content(metrics_.text(queue_.counts().open, connections_->count()),
                    "text/plain; version=0.0.4");
  });
  // Errors of the interface from handlers without a body of their own.
  const auto guarded = [this](auto handler) {
    return [this, handler](const httplib::Request& in, httplib::Response& out) {
      try {
        check_key(in);
        handler(in, out);
      } catch (const ApiError& e) {
        fail(out, e);
      }
    };
  };
  server_.Get("/v1/models",
              guarded([this, answer](const httplib::Request&, httplib::Response& out) {
                answer(out, {{"object", "list"}, {"data", {model_json()}}});
              }));
  server_.Get("/v1/models/(.+)",
              guarded([this, answer](const httplib::Request& in, httplib::Response& out) {
                if (in.matches[1] != model_.name) {
                  throw ApiError(404, "invalid_request_error",
                                 "that model is not served here: see /v1/models", "model",
                                 "model_not_found");
                }
                answer(out, model_json());
              }));
  const auto served = [this](Parse parse) {
    return [this, parse](const httplib::Request& in, httplib::Response& out,
                         const httplib::ContentReader& reader) { serve(parse, in, out, reader); };
  };
  server_.Post("/v1/completions", served(parse_completion));
  server_.Post("/v1/chat/completions", served(parse_chat));
  // vLLM's plain server gives the prompt and what follows it, RULER's copy of it what follows alone.
  server_.Post("/generate", served([](const json& body, const ServedModel& model) {
                 return parse_generate(body, model, /*prompt_before=*/true);
               }));
  server_.Put("/generate", served([](const json& body, const ServedModel& model) {
                return parse_generate(body, model, /*prompt_before=*/false);
              }));
  server_.set_error_handler([this](const httplib::Request& in, httplib::Response& out) {
    if (!out.body.empty()) return;
    const char* what = out.status == 404   ? "there is no such route"
                       : out.status == 413 ? "the body is too large"
                                           : "the request is not understood";
    fail(out, ApiError(out.status, "invalid_request_error",
                       fmt::format("{}: {} {}", what, in.method, in.path)));
  });
  server_.set_exception_handler(
      [this](const httplib::Request&, httplib::Response& out, std::exception_ptr error) {
        try {
          std::rethrow_exception(error);
        } catch (const std::exception& e) {
          fail(out, ApiError(500, "server_error", e.what()));
        }
      });
}

HttpServer::HttpServer(const HttpOptions& options, const ServedModel& model, RequestQueue& queue,
                       ServerMetrics& metrics)
    : impl_(std::make_unique<Impl>(options, model, queue, metrics)) {}
HttpServer::~HttpServer() = default;
int HttpServer::port() const { return impl_->port(); }
void HttpServer::drain() { impl_->drain(); }
void HttpServer::finish() { impl_->finish(); }

}  // namespace elastron::serving
