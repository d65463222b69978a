#include "train/metrics/metrics_file.h"

#include <filesystem>
#include <fstream>

#include "core/error.h"
#include "core/file/atomic_file.h"
#include "core/json.h"
#include "core/log.h"

namespace elastron::train {

namespace fs = std::filesystem;

namespace {

std::string free_name(const std::string& wanted) {
  std::string name = wanted;
  std::error_code error;
  for (int number = 2; fs::exists(name, error); ++number) {
    name = wanted + "-" + std::to_string(number);
  }
  return name;
}

}  // namespace

void cut_metrics(const std::string& path, int64_t last_step) {
  std::ifstream in(path, std::ios::binary);
  if (!in) return;
  std::string kept, line;
  int64_t number = 0, damaged = 0, first_damaged = 0;
  while (std::getline(in, line)) {
    if (in.eof()) break;  // no newline: torn
    ++number;
    const auto object = nlohmann::json::parse(line, nullptr, false);
    const bool readable =
        object.is_object() && object.contains("step") && object["step"].is_number_integer();
    if (!readable) {
      if (damaged++ == 0) first_damaged = number;
    } else if (object["step"] <= last_step) {
      kept += line + "\n";
    }
  }
  in.close();
  if (damaged > 0) {
    const std::string copy = free_name(path + ".damaged");
    std::error_code error;
    fs::copy_file(path, copy, error);
    if (error) {
      throw CheckpointError("cannot copy the damaged metrics: " + error.message(), copy,
                            "free space, or move them away");
    }
    log_warning(
        "{}:{}: no object with a step ({} such lines); they are left out, the file as it "
        "was is {}",
        path, first_damaged, damaged, copy);
  }
  write_text_atomically(path, kept, ExitCode::checkpoint);
}

}  // namespace elastron::train
