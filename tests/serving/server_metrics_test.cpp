#include "serving/server_metrics.h"

#include <gtest/gtest.h>

#include <regex>
#include <sstream>

namespace elastron::serving {
namespace {

TEST(ServerMetrics, ArePrometheusText) {
  ServerMetrics metrics;
  metrics.answered("/v1/completions", 200, 0.3);
  metrics.answered("/v1/completions", 200, 100);
  metrics.answered("/v1/completions", 429, 0.001);
  metrics.first_token(0.25);
  metrics.looped({.prompt_tokens = 7, .generated_tokens = 5, .pages_used = 3});
  const std::string text = metrics.text(2, 4);
  for (const char* line :
       {"elastron_http_requests_total{route=\"/v1/completions\",status=\"200\"} 2",
        "elastron_http_requests_total{route=\"/v1/completions\",status=\"429\"} 1",
        "elastron_prompt_tokens_total 7", "elastron_generated_tokens_total 5",
        "elastron_cache_pages_used 3", "elastron_requests_open 2", "elastron_connections 4",
        "elastron_request_seconds_bucket{le=\"0.25\"} 1",
        "elastron_request_seconds_bucket{le=\"0.5\"} 2",
        "elastron_request_seconds_bucket{le=\"+Inf\"} 3", "elastron_request_seconds_count 3",
        "elastron_first_token_seconds_bucket{le=\"0.25\"} 1"}) {
    EXPECT_NE(text.find(std::string(line) + "\n"), std::string::npos) << line;
  }
  // Every line is a comment or a sample.
  const std::regex sample(R"(([a-z_]+)(\{[^}]*\})? [-+0-9.e]+)");
  std::istringstream lines(text);
  for (std::string line; std::getline(lines, line);) {
    EXPECT_TRUE(line.starts_with("# HELP ") || line.starts_with("# TYPE ") ||
                std::regex_match(line, sample))
        << line;
  }
}

}  // namespace
}  // namespace elastron::serving
