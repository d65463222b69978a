// Counters of a server in Prometheus' text format (version 0.0.4).
#pragma once
#include <array>
#include <cstdint>
#include <map>
#include <mutex>
#include <string>

#include "serving/engine_loop.h"

namespace elastron::serving {

// Thread-safe.
class ServerMetrics {
 public:
  void answered(const std::string& route, int status, double seconds);
  void first_token(double seconds) { add(first_token_, seconds); }
  void token_gap(double seconds) { add(token_gap_, seconds); }
  void looped(const LoopFigures& figures);

  std::string text(int64_t open_requests, int64_t connections) const;

 private:
  static constexpr std::array<double, 13> kBounds = {0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5,
                                                     1,     2.5,  5,     10,   30,  60};
  struct Histogram {
    std::array<int64_t, kBounds.size()> below{};
    int64_t count = 0;
    double sum = 0;
  };
  void add(Histogram& histogram, double seconds);
  static void print(std::string& out, const char* name, const char* help, const Histogram& h);

  mutable std::mutex mutex_;
  std::map<std::pair<std::string, int>, int64_t> answers_;
  Histogram seconds_, first_token_, token_gap_;
  LoopFigures loop_;
};

}  // namespace elastron::serving
