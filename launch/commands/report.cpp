// elastron report RUN... [--out FILE.html] [--live [--every SECONDS]]: a page of runs and results;
// elastron report RESULTS --out FILE.md: a reproduction of the paper, with its figures beside it.
#include "report/report.h"

#include <fmt/chrono.h>
#include <fmt/format.h>

#include <chrono>
#include <cstdio>
#include <ctime>
#include <filesystem>
#include <memory>
#include <thread>

#include "core/file/atomic_file.h"
#include "core/log.h"
#include "launch/command.h"
#include "launch/command_line.h"
#include "launch/signals.h"
#include "launch/version.h"
#include "report/markup.h"

namespace elastron::launch {

namespace {

struct Options {
  std::vector<std::string> paths;
  std::string out = "report.html";
  bool live = false;
  int every = 5;
};

bool is_markdown(const Options& options) { return options.out.ends_with(".md"); }

// Whole files: the text last, as it has links to the others.
void write(const Options& options, const report::Report& report) {
  const auto folder = std::filesystem::path(options.out).parent_path();
  for (const auto& [file, text] : report.files) {
    const std::filesystem::path path = folder / file;
    make_folder(path.parent_path().string(), ExitCode::input);
    write_text_atomically(path.string(), text);
  }
  write_text_atomically(options.out, report.text);
}

// -> the claims' lines.
std::vector<std::string> write_page(const Options& options, bool refreshes) {
  std::string command = "elastron report";
  for (const std::string& path : options.paths) command += " " + report::shell_word(path);
  const std::string made_by =
      fmt::format("{} --out {}\n\nmade {:%Y-%m-%d %H:%M:%S} UTC by\n{}", command,
                  report::shell_word(options.out), fmt::gmtime(std::time(nullptr)), version_text());
  report::ReportOptions page{.paths = options.paths, .made_by = made_by, .refresh_seconds = {}};
  if (refreshes) page.refresh_seconds = options.every;
  const report::Report report =
      is_markdown(options)
          ? report::report_markdown(page, std::filesystem::path(options.out).stem().string())
          : report::report_page(page);
  write(options, report);
  return report.claims;
}

// -> whether it was asked to stop.
bool wait(int seconds) {
  const auto until = std::chrono::steady_clock::now() + std::chrono::seconds(seconds);
  while (std::chrono::steady_clock::now() < until) {
    if (stop_requested()) return true;
    std::this_thread::sleep_for(std::chrono::milliseconds(100));
  }
  return stop_requested();
}

// Until no run goes on, or a request to stop; the last page stays as it is. A run that is started
// again right away is between its processes for a moment: it takes two looks to have ended.
ExitCode follow(const Options& options) {
  if (!report::all_are_runs(options.paths)) {
    throw UsageError("only training runs are followed", "--live",
                     "leave --live out, or give folders of runs alone");
  }
  on_stop_request(OnStop::note);
  int looks_without_a_run = 0;
  bool stopped = stop_requested();
  while (!stopped && looks_without_a_run < 2) {
    write_page(options, /*refreshes=*/true);
    stopped = wait(options.every);
    looks_without_a_run =
        report::runs_going_on(options.paths).empty() ? looks_without_a_run + 1 : 0;
  }
  write_page(options, /*refreshes=*/false);
  return stopped ? ExitCode::stopped : ExitCode::ok;
}

ExitCode run(const Options& options) {
  const Log log({});
  check_place(options.out);
  ExitCode code = ExitCode::ok;
  if (options.live) {
    log_info("{} is written every {} s until the runs end", options.out, options.every);
    code = follow(options);
  } else {
    for (const std::string& claim : write_page(options, /*refreshes=*/false)) {
      fmt::print("{}\n", claim);
    }
    std::fflush(stdout);  // before what goes to the log: where both are one file, lines stay whole
  }
  log_info("page in {}", options.out);
  return code;
}

}  // namespace

void add_report(cli::App& app, Command& selected) {
  auto* command =
      app.add_subcommand("report", "one page of training runs, evaluations and benchmarks");
  auto options = std::make_shared<Options>();
  command
      ->add_option("RUN", options->paths,
                   "runs' folders, files of eval --out and score-heads, folders of benchmark, "
                   "eval-reward and launch/reproduce.sh; several are compared")
      ->required();
  command
      ->add_option("--out", options->out,
                   "the page, a file of HTML; of a reproduction also one of Markdown (.md)")
      ->capture_default_str();
  auto* live = command->add_flag("--live", options->live,
                                 "write it again and again until the training runs end");
  command->add_option("--every", options->every, "seconds between two pages")
      ->needs(live)
      ->check(cli::Range(1, 3600))
      ->capture_default_str();
  command->callback([&selected, options] { selected.alone = [options] { return run(*options); }; });
}

}  // namespace elastron::launch
