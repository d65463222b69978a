// How far a long command is, with the time that is left. On a terminal one line on stderr that is
// drawn again and cleared at the end; elsewhere a line now and then, so that a log of hours stays
// readable and a short command says nothing.
#pragma once
#include <cstdint>
#include <cstdio>
#include <functional>
#include <string>
#include <string_view>

namespace elastron {

// Units done, and how many there are, of which the first says how long the rest takes: documents,
// bytes or tokens.
using OnProgress = std::function<void(uint64_t done, uint64_t total)>;

// "1:02:03" of seconds.
std::string duration_text(double seconds);

struct ProgressOptions {
  std::FILE* to = stderr;
  bool terminal = false;
  int columns = 80;                 // of the terminal
  std::function<double()> seconds;  // a clock that only goes forward
  double wait_on_terminal = 0.5;    // seconds between drawings
  double wait_elsewhere = 30;       // and between lines
};

class Progress {
 public:
  // speaks: false on all ranks but one.
  explicit Progress(bool speaks);
  explicit Progress(ProgressOptions options);
  ~Progress();  // clears the line
  Progress(const Progress&) = delete;
  Progress& operator=(const Progress&) = delete;

  // `what`: another one begins a new estimate. `detail`: what else is worth saying, "" for nothing.
  void show(std::string_view what, uint64_t done, uint64_t total, std::string_view detail = "");
  void clear();

 private:
  ProgressOptions options_;
  bool speaks_;
  std::string what_;
  double begin_ = 0, shown_ = 0;
  bool drawn_ = false;
};

// Clears a line that is drawn now, whoever draws it: for those who are about to write to stderr.
void clear_progress();

}  // namespace elastron
