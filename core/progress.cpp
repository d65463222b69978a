#include "core/progress.h"

#include <fmt/format.h>
#include <sys/ioctl.h>
#include <unistd.h>

#include <algorithm>
#include <chrono>
#include <mutex>
#include <utility>

namespace elastron {

namespace {

// The stream that has a line drawn on it, if any.
std::mutex drawn_mutex;
std::FILE* drawn_on = nullptr;

ProgressOptions of_this_process() {
  ProgressOptions options{
      .terminal = isatty(STDERR_FILENO) == 1, .seconds = [] {
        using Clock = std::chrono::steady_clock;
        return std::chrono::duration<double>(Clock::now().time_since_epoch()).count();
      }};
  winsize size{};
  if (options.terminal && ioctl(STDERR_FILENO, TIOCGWINSZ, &size) == 0 && size.ws_col > 0) {
    options.columns = size.ws_col;
  }
  return options;
}

}  // namespace

std::string duration_text(double seconds) {
  const auto s = int64_t(std::clamp(seconds, 0.0, 3.6e9));
  return fmt::format("{}:{:02}:{:02}", s / 3600, s / 60 % 60, s % 60);
}

Progress::Progress(bool speaks) : options_(of_this_process()), speaks_(speaks) {}
Progress::Progress(ProgressOptions options) : options_(std::move(options)), speaks_(true) {}
Progress::~Progress() { clear(); }

void Progress::show(std::string_view what, uint64_t done, uint64_t total, std::string_view detail) {
  if (!speaks_) return;
  const double now = options_.seconds();
  const bool first = what != what_;
  if (first) {
    what_ = what;
    begin_ = now;
    if (!options_.terminal) shown_ = now;
  }
  const bool due = options_.terminal ? first || now - shown_ >= options_.wait_on_terminal
                                     : now - shown_ >= options_.wait_elsewhere;
  if (!due) return;
  shown_ = now;
  const double share = double(done) / double(std::max<uint64_t>(total, 1));
  std::string line = fmt::format("{} {:5.1f} %", what, 100 * share);
  if (!detail.empty()) line += fmt::format(" | {}", detail);
  if (done > 0) {
    line += fmt::format(" | eta {}", duration_text((now - begin_) * (1 - share) / share));
  }
  if (!options_.terminal) {
    std::fprintf(options_.to, "%s\n", line.c_str());
    std::fflush(options_.to);
    return;
  }
  // A line that wraps could not be cleared.
  line.resize(std::min(line.size(), size_t(std::max(options_.columns - 1, 1))));
  const std::lock_guard lock(drawn_mutex);
  std::fprintf(options_.to, "\r%s\033[K", line.c_str());
  std::fflush(options_.to);
  drawn_on = options_.to;
  drawn_ = true;
}

void Progress::clear() {
  if (drawn_) clear_progress();
  drawn_ = false;
}

void clear_progress() {
  const std::lock_guard lock(drawn_mutex);
  if (drawn_on == nullptr) return;
  std::fputs("\r\033[K", drawn_on);
  std::fflush(drawn_on);
  drawn_on = nullptr;
}

}  // namespace elastron
