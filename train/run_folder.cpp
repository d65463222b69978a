#include "train/run_folder.h"

#include <fmt/chrono.h>

#include <algorithm>
#include <ctime>
#include <filesystem>
#include <random>

#include "core/error.h"
#include "core/file/atomic_file.h"
#include "core/file/input_file.h"
#include "core/json.h"
#include "train/checkpoint/folder.h"
#include "train/checkpoint/header.h"

namespace elastron::train {

namespace fs = std::filesystem;

namespace {

constexpr const char* kRecord = RunFolder::kRecord;
constexpr const char* kPrevious = "previous";
constexpr const char* kFormat = "elastron-run";
constexpr int64_t kFormatVersion = 1;
constexpr uint64_t kLongestRecord = uint64_t(1) << 20;

// The files that a run writes into its folder, beside its record.
constexpr const char* kFiles[] = {"metrics.jsonl", "log.txt", "config.yaml"};
constexpr const char* kModel = "model";
constexpr const char* kFolders[] = {"checkpoints", "tensorboard", kModel};

bool is_there(const fs::path& path) {
  std::error_code unreadable_is_absent;
  return fs::exists(fs::symlink_status(path, unreadable_is_absent));
}

bool stays_in_any_case(const std::string& name) {
  return name == kRecord || name == kPrevious || name == FolderLock::kFile;
}

std::vector<std::string> names_in(const std::string& folder) {
  std::vector<std::string> names;
  std::error_code error;
  for (const auto& entry : fs::directory_iterator(folder, error)) {
    names.push_back(entry.path().filename().string());
  }
  std::ranges::sort(names);
  return names;
}

bool is_of_a_run(const std::string& name) {
  return std::ranges::find(kFiles, name) != std::end(kFiles) ||
         name.starts_with("metrics.jsonl.damaged") ||
         std::ranges::find(kFolders, name) != std::end(kFolders);
}

// Whether a run has left what the next one would mix with its own.
bool has_run(const std::string& folder) {
  std::error_code error;
  for (const char* name : {"checkpoints", "tensorboard"}) {
    const fs::path inner = fs::path(folder) / name;
    if (fs::is_directory(inner, error) && !fs::is_empty(inner, error)) return true;
  }
  return is_there(fs::path(folder) / "metrics.jsonl");
}

void refuse_other_kinds(const std::string& folder) {
  std::error_code error;
  const auto want = [&](const std::string& name, bool is_folder) {
    const fs::path path = fs::path(folder) / name;
    if (!fs::exists(path, error)) return;
    if (fs::is_directory(path, error) == is_folder) return;
    throw UsageError(
        is_folder ? "a file is in the place of a folder" : "a folder is in the place of a file",
        path.string(), "move it away: a run writes there");
  };
  for (const char* name : kFolders) want(name, true);
  want(kPrevious, true);
  for (const char* name : kFiles) want(name, false);
  want(kRecord, false);
  want("checkpoints/latest", false);
  want("checkpoints/best", false);
  for (const std::string& name : checkpoints_in(folder + "/checkpoints")) {
    want("checkpoints/" + name, false);
  }
}

// Whether another run has its folder there, or further down: it may be training right now.
bool holds_a_run(const fs::path& path) {
  std::error_code error;
  if (!fs::is_directory(fs::symlink_status(path, error))) return false;
  const auto options = fs::directory_options::skip_permission_denied;
  for (const auto& entry : fs::recursive_directory_iterator(path, options, error)) {
    const std::string name = entry.path().filename().string();
    if (name == kRecord || name == FolderLock::kFile) return true;
  }
  return false;
}

// Within one file system. A link that says where it points from here would point elsewhere from
// there.
void move(const fs::path& from, const fs::path& to, std::error_code& error) {
  if (!fs::is_symlink(from, error) || fs::read_symlink(from, error).is_absolute()) {
    fs::rename(from, to, error);
    return;
  }
  const fs::path target = fs::weakly_canonical(from, error);
  if (!error) fs::create_symlink(target, to, error);
  if (!error) fs::remove(from, error);
}

std::string utc_now(const char* format) {
  return fmt::format(fmt::runtime(format), fmt::gmtime(std::time(nullptr)));
}

}  // namespace

RunRecord new_run() {
  std::random_device random;
  return {.id = fmt::format("{}-{:08x}", utc_now("{:%Y%m%d-%H%M%S}"), uint32_t(random())),
          .begun = utc_now("{:%Y-%m-%dT%H:%M:%SZ}")};
}

std::string run_text(const RunRecord& record, const Removal& removal) {
  nlohmann::ordered_json object = {{"format", kFormat},
                                   {"format_version", kFormatVersion},
                                   {"id", record.id},
                                   {"begun", record.begun},
                                   {"start", record.start},
                                   {"start_is", record.start_is},
                                   {"job", record.job},
                                   {"saved", record.saved},
                                   {"takes_unmarked", record.takes_unmarked},
                                   {"alone", record.alone}};
  if (!removal.names.empty()) {
    object["removal"] = {{"to", removal.to}, {"names", removal.names}};
  }
  // Paths may be any bytes.
  return object.dump(2, ' ', false, nlohmann::json::error_handler_t::replace) + "\n";
}

RunRecord parse_run(const std::string& text, const std::string& where, Removal& removal) {
  const auto refuse = [&](const std::string& what) -> CheckpointError {
    return {what, where, "remove the file: the run then goes on from its checkpoints"};
  };
  try {
    const auto object = parse_json_strict(text, where);
    if (object.at("format") != kFormat) throw refuse("not the record of a run");
    if (object.at("format_version") != kFormatVersion) {
      throw refuse("the record of a run has another format version");
    }
    RunRecord record = {.id = object.at("id"),
                        .begun = object.at("begun"),
                        .start = object.at("start"),
                        .start_is = object.at("start_is"),
                        .job = object.at("job"),
                        .saved = object.at("saved"),
                        .takes_unmarked = object.at("takes_unmarked"),
                        .alone = object.at("alone")};
    if (!is_run_id(record.id)) throw refuse("not the id of a run");
    removal = {};
    if (object.contains("removal")) {
      removal.to = object["removal"].at("to");
      removal.names = object["removal"].at("names").get<std::vector<std::string>>();
    }
    // Nothing is moved from or to elsewhere, whoever wrote the file.
    const bool inside = std::ranges::all_of(removal.names, [](const std::string& name) {
      return !name.empty() && name != "." && name != ".." && name.find('/') == name.npos;
    });
    const fs::path to = removal.to;
    const bool below =
        to.parent_path() == kPrevious && to.filename() != "." && to.filename() != "..";
    if (!inside || (!removal.names.empty() && !below)) {
      throw refuse("the record of a run would move files elsewhere");
    }
    return record;
  } catch (const InputError&) {
    throw refuse("the record of a run is damaged");
  } catch (const nlohmann::json::exception&) {
    throw refuse("the record of a run is damaged");
  }
}

RunFolder::RunFolder(std::string path) : path_(std::move(path)) {
  make_folder(path_);
  lock_.emplace(path_);
  refuse_other_kinds(path_);
  const std::string file = path_ + "/" + kRecord;
  std::error_code nothing_to_remove;
  fs::remove(temporary_name(file), nothing_to_remove);
  if (!is_there(file)) return;
  Removal removal;
  record_ = parse_run(read_small_file(file, kLongestRecord), file, removal);
  if (removal.names.empty()) return;
  remove(removal);
  update(*record_);
}

void RunFolder::update(const RunRecord& run) {
  record_ = run;
  write_text_atomically(path_ + "/" + kRecord, run_text(run, {}), ExitCode::checkpoint);
}

// A folder that the run had for itself is moved with all that is in it now (figures of evaluations,
// say); from one that it shared with other things its own files go.
Removal RunFolder::to_remove(const std::vector<std::string>& needed) const {
  std::error_code error;
  const auto absolute = [&](const fs::path& path) { return fs::weakly_canonical(path, error); };
  std::vector<fs::path> kept;
  for (const std::string& path : needed) {
    if (!path.empty()) kept.push_back(absolute(path));
  }
  const auto holds_needed = [&](const std::string& name) {
    const fs::path own = absolute(fs::path(path_) / name);
    return std::ranges::any_of(kept, [&](const fs::path& path) {
      return std::mismatch(own.begin(), own.end(), path.begin(), path.end()).first == own.end();
    });
  };
  Removal removal;
  for (const std::string& name : names_in(path_)) {
    if (stays_in_any_case(name)) continue;
    if (holds_needed(name)) {
      if (!is_of_a_run(name) || name == kModel) continue;  // a model that was put there
      throw UsageError("a new run would read files of the one whose place it takes",
                       (fs::path(path_) / name).string(),
                       "set another output.dir, or move what it reads out of the folder");
    }
    const bool comes_along = record_ && record_->alone && !holds_a_run(fs::path(path_) / name);
    if (is_of_a_run(name) || comes_along) removal.names.push_back(name);
  }
  if (removal.names.empty()) return removal;
  const std::string id = record_ ? record_->id : "without-id-" + utc_now("{:%Y%m%d-%H%M%S}");
  removal.to = free_place(id);
  return removal;
}

// Below previous/. It may be there with a record alone, of a process that was killed before it went
// on.
std::string RunFolder::free_place(const std::string& name) const {
  const std::string unfinished = fs::path(temporary_name(kRecord)).filename().string();
  for (int number = 1;; ++number) {
    std::string place = std::string(kPrevious) + "/" + name;
    if (number > 1) place += "-" + std::to_string(number);
    if (std::ranges::all_of(names_in(path_ + "/" + place), [&](const std::string& inner) {
          return inner == kRecord || inner == unfinished;
        })) {
      return place;
    }
  }
}

std::optional<std::string> RunFolder::set_aside_after(int64_t step) {
  std::vector<std::string> later;
  for (const std::string& name : checkpoints_in(checkpoints())) {
    if (step_of(name) > step) later.push_back(name);
  }
  if (later.empty()) return {};
  const fs::path place = free_place(fmt::format("{}-after-{}", record_->id, step)),
                 to = fs::path(path_) / place / "checkpoints";
  make_folder(to.string(), ExitCode::usage);
  const std::string best = named_in(checkpoints() + "/best");
  std::error_code error;
  for (const std::string& name : later) {
    if (name == best) fs::remove(checkpoints() + "/best", error);
    move(fs::path(checkpoints()) / name, to / name, error);
    if (!error) continue;
    throw UsageError("cannot move a checkpoint of a later step away: " + error.message(),
                     checkpoints() + "/" + name, "move it yourself, or set another output.dir");
  }
  sync_folder(to.string(), ExitCode::usage);
  sync_folder(checkpoints(), ExitCode::usage);
  return to.string();
}

void RunFolder::remove(const Removal& removal) const {
  const fs::path from = path_, to = from / removal.to;
  make_folder(to.string(), ExitCode::usage);
  for (const std::string& name : removal.names) {
    if (!is_there(from / name)) continue;  // it was moved before the interruption
    fs::path target = to / name;
    for (int number = 2; is_there(target); ++number) {
      target = to / (name + "-" + std::to_string(number));
    }
    std::error_code error;
    move(from / name, target, error);
    if (!error) continue;
    throw UsageError("cannot move an earlier run's files away: " + error.message(),
                     (from / name).string(), "move it yourself, or set another output.dir");
  }
  sync_folder(to.string(), ExitCode::usage);
  sync_folder(from.string(), ExitCode::usage);
}

std::optional<std::string> RunFolder::begin(RunRecord run, const std::vector<std::string>& needed) {
  const std::string file = path_ + "/" + kRecord;
  const Removal removal = has_run(path_) ? to_remove(needed) : Removal{};
  const auto rest = names_in(path_);
  run.alone = std::ranges::all_of(rest, [&](const std::string& name) {
    return stays_in_any_case(name) || is_of_a_run(name) ||
           std::ranges::find(removal.names, name) != removal.names.end();
  });
  if (removal.names.empty()) {
    update(run);
    return {};
  }
  const std::string to = path_ + "/" + removal.to;
  make_folder(to);
  if (record_) {
    write_text_atomically(to + "/" + kRecord, run_text(*record_, {}), ExitCode::checkpoint);
  }
  write_text_atomically(file, run_text(run, removal), ExitCode::checkpoint);
  remove(removal);
  update(run);
  return to;
}

}  // namespace elastron::train
