#include "core/log.h"

#include <glog/logging.h>

#include <algorithm>
#include <cerrno>
#include <cstdio>
#include <cstring>
#include <mutex>
#include <set>
#include <string>
#include <vector>

#include "core/error.h"
#include "core/progress.h"

namespace elastron {

class Log::Sink final : public google::LogSink {
 public:
  explicit Sink(LogOptions options) : options_(options) {}
  ~Sink() override {
    if (file_ != nullptr) std::fclose(file_);
  }

  bool speaks() const { return options_.rank == 0 || options_.all_ranks; }

  void open(const std::filesystem::path& path) {
    std::FILE* file = std::fopen(path.c_str(), "ae");
    if (file == nullptr) {
      throw UsageError("cannot open the log file: " + std::string(std::strerror(errno)),
                       path.string(), "choose an output.dir that can be written");
    }
    const std::lock_guard lock(mutex_);
    if (file_ != nullptr) std::fclose(file_);
    file_ = file;
    for (const std::string& line : early_) write(line);
    early_.clear();
  }

  using google::LogSink::send;
  void send(google::LogSeverity severity, const char*, const char*, int,
            const google::LogMessageTime& time, const char* message, size_t length) override {
    if (!speaks()) return;
    const std::tm& t = time.tm();
    std::string line = fmt::format("{:04}-{:02}-{:02} {:02}:{:02}:{:02} ", t.tm_year + 1900,
                                   t.tm_mon + 1, t.tm_mday, t.tm_hour, t.tm_min, t.tm_sec);
    if (options_.rank != 0) line += fmt::format("[rank {}] ", options_.rank);
    if (severity >= google::GLOG_WARNING) line += "warning: ";
    line.append(message, length);
    line += '\n';

    const std::lock_guard lock(mutex_);
    clear_progress();
    // One call per line, so that the lines of several ranks do not mix.
    std::fwrite(line.data(), 1, line.size(), stderr);
    std::fflush(stderr);
    if (file_ != nullptr) {
      write(line);
    } else if (early_.size() < kMostEarly) {
      early_.push_back(line);
    }
  }

 private:
  static constexpr size_t kMostEarly = 1000;

  void write(const std::string& line) {
    if (file_ == nullptr) return;
    if (std::fwrite(line.data(), 1, line.size(), file_) != line.size() || std::fflush(file_) != 0) {
      std::fprintf(stderr, "warning: the log file is no longer written: %s\n",
                   std::strerror(errno));
      std::fclose(file_);
      file_ = nullptr;
    }
  }

  const LogOptions options_;
  std::mutex mutex_;
  std::vector<std::string> early_;  // said before there was a file
  std::FILE* file_ = nullptr;
};

Log::Log(LogOptions options) : sink_(std::make_unique<Sink>(options)) {
  google::InitGoogleLogging("elastron");
  // No files of glog's own, and its own stderr output only for what aborts.
  for (int severity = 0; severity < google::NUM_SEVERITIES; ++severity) {
    google::SetLogDestination(severity, "");
  }
  google::SetStderrLogging(google::GLOG_FATAL);
  google::AddLogSink(sink_.get());
}

Log::~Log() {
  google::RemoveLogSink(sink_.get());
  google::ShutdownGoogleLogging();
}

void Log::write_to(const std::filesystem::path& file) {
  if (sink_->speaks()) sink_->open(file);
}

void log_line(LogLevel level, std::string_view message) {
  std::string line(message);
  std::ranges::replace_if(
      line, [](char c) { return c == '\n' || c == '\r'; }, ' ');
  if (level == LogLevel::warning) {
    LOG(WARNING) << line;
  } else {
    LOG(INFO) << line;
  }
}

void log_warning_once(std::string_view message) {
  static std::mutex mutex;
  static std::set<std::string, std::less<>> said;
  {
    const std::lock_guard lock(mutex);
    if (!said.emplace(message).second) return;
  }
  log_line(LogLevel::warning, message);
}

}  // namespace elastron
