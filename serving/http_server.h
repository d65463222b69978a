// The HTTP side of `elastron serve`: routes of OpenAI's interface, /generate, /health and /metrics
// (docs/serving.md), on threads of its own.
#pragma once
#include <chrono>
#include <cstdint>
#include <memory>
#include <string>

#include "serving/api_request.h"
#include "serving/request_queue.h"
#include "serving/server_metrics.h"

namespace elastron::serving {

struct HttpOptions {
  std::string host = "127.0.0.1";
  int port = 8000;      // 0: any free one
  std::string api_key;  // empty: none is asked for
  int64_t most_connections = 256;
  int64_t most_body_bytes = int64_t(8) << 20;
  std::chrono::seconds receive_time{30};  // for a whole request to come
  std::chrono::seconds answer_time{600};  // from there to the answer's end
};

class HttpServer {
 public:
  // Listens from now on. Model, queue and metrics must outlive it. Throws UsageError where the port cannot
  // be had.
  HttpServer(const HttpOptions& options, const ServedModel& model, RequestQueue& queue,
             ServerMetrics& metrics);
  // As finish().
  ~HttpServer();
  HttpServer(const HttpServer&) = delete;
  HttpServer& operator=(const HttpServer&) = delete;

  int port() const;
  // What comes from now on is refused (503), /health says so; what was asked for is answered while the
  // queue's other end goes on.
  void drain();
  // Waits until all is answered, and closes.
  void finish();

 private:
  class Impl;
  std::unique_ptr<Impl> impl_;
};

}  // namespace elastron::serving
