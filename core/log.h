// Log lines, through glog: "2026-11-23 17:44:37 message", with "[rank 3] " before the message on
// ranks other than 0 and "warning: " before a warning. Errors that a person caused are exceptions
// (core/error.h), never log lines: glog's FATAL would abort with code 134.
#pragma once
#include <fmt/format.h>

#include <filesystem>
#include <memory>
#include <string_view>

namespace elastron {

struct LogOptions {
  int rank = 0;
  bool all_ranks = false;  // otherwise only rank 0 speaks
};

// Sets logging up for its lifetime; main owns the only one.
class Log {
 public:
  explicit Log(LogOptions options);
  ~Log();
  Log(const Log&) = delete;
  Log& operator=(const Log&) = delete;

  // Lines also go to this file (appended), those from before too. Does nothing on ranks that do not
  // speak.
  // Throws UsageError when the file cannot be opened. A later failure to write is said once on
  // stderr and does not stop the run.
  void write_to(const std::filesystem::path& file);

 private:
  class Sink;
  std::unique_ptr<Sink> sink_;
};

enum class LogLevel { info, warning };
// One line: line breaks in `message` become spaces. Thread-safe.
void log_line(LogLevel level, std::string_view message);
// A warning that more than one part of a command may have reason for: said once per process.
void log_warning_once(std::string_view message);

template <class... Args>
void log_info(fmt::format_string<Args...> format, Args&&... args) {
  log_line(LogLevel::info, fmt::format(format, std::forward<Args>(args)...));
}
template <class... Args>
void log_warning(fmt::format_string<Args...> format, Args&&... args) {
  log_line(LogLevel::warning, fmt::format(format, std::forward<Args>(args)...));
}

}  // namespace elastron
