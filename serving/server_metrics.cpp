#include "serving/server_metrics.h"

#include <fmt/format.h>

namespace elastron::serving {

void ServerMetrics::add(Histogram& histogram, double seconds) {
  const std::lock_guard lock(mutex_);
  for (size_t i = 0; i < kBounds.size(); ++i) histogram.below[i] += seconds <= kBounds[i];
  ++histogram.count;
  histogram.sum += seconds;
}

void ServerMetrics::answered(const std::string& route, int status, double seconds) {
  add(seconds_, seconds);
  const std::lock_guard lock(mutex_);
  ++answers_[{route, status}];
}

void ServerMetrics::looped(const LoopFigures& figures) {
  const std::lock_guard lock(mutex_);
  loop_ = figures;
}

void ServerMetrics::print(std::string& out, const char* name, const char* help,
                          const Histogram& h) {
  out += fmt::format("# HELP {0} {1}\n# TYPE {0} histogram\n", name, help);
  for (size_t i = 0; i < kBounds.size(); ++i) {
    out += fmt::format("{}_bucket{{le=\"{}\"}} {}\n", name, kBounds[i], h.below[i]);
  }
  out += fmt::format("{0}_bucket{{le=\"+Inf\"}} {1}\n{0}_sum {2}\n{0}_count {1}\n", name, h.count,
                     h.sum);
}

std::string ServerMetrics::text(int64_t open_requests, int64_t connections) const {
  const std::lock_guard lock(mutex_);
  std::string out;
  const auto one = [&](const char* name, const char* type, const char* help, int64_t value) {
    out += fmt::format("# HELP {0} {1}\n# TYPE {0} {2}\n{0} {3}\n", name, help, type, value);
  };
  const char* requests = "elastron_http_requests_total";
  out += fmt::format("# HELP {0} Answers by route and status.\n# TYPE {0} counter\n", requests);
  for (const auto& [key, count] : answers_) {
    out += fmt::format("{}{{route=\"{}\",status=\"{}\"}} {}\n", requests, key.first, key.second,
                       count);
  }
  one("elastron_prompt_tokens_total", "counter", "Tokens of prompts read.", loop_.prompt_tokens);
  one("elastron_kept_prompt_tokens_total", "counter", "Tokens of prefixes that were kept.",
      loop_.kept_prompt_tokens);
  one("elastron_generated_tokens_total", "counter", "Tokens generated.", loop_.generated_tokens);
  one("elastron_requests_finished_total", "counter", "Texts that came to their end.",
      loop_.finished);
  one("elastron_requests_failed_total", "counter", "Texts that failed.", loop_.failed);
  one("elastron_requests_cancelled_total", "counter", "Texts whose client went away.",
      loop_.cancelled);
  one("elastron_requests_open", "gauge", "Texts asked for and not finished.", open_requests);
  one("elastron_requests_running", "gauge", "Texts under way on the first rank's group.",
      loop_.running);
  one("elastron_requests_waiting", "gauge", "Texts that wait for memory on the first rank's group.",
      loop_.waiting);
  one("elastron_cache_pages_used", "gauge", "Pages of the first rank's cache in use.",
      loop_.pages_used);
  one("elastron_connections", "gauge", "Open connections.", connections);
  print(out, "elastron_request_seconds", "From a request's last byte to its answer's.", seconds_);
  print(out, "elastron_first_token_seconds", "From a request's last byte to its first token.",
        first_token_);
  print(out, "elastron_token_seconds", "Between a text's tokens.", token_gap_);
  return out;
}

}  // namespace elastron::serving
