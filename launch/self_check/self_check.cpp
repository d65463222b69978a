#include "launch/self_check/self_check.h"

#include <fmt/format.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <chrono>
#include <cstdlib>
#include <exception>
#include <iterator>
#include <optional>
#include <span>
#include <vector>

#include "core/error.h"
#include "core/file/checksum.h"
#include "core/file/input_file.h"
#include "core/log.h"
#include "core/plural.h"
#include "launch/self_check/cache.h"
#include "launch/self_check/child.h"
#include "ops/kernel_families.h"
#include "parallel/agree.h"

#if ELASTRON_WITH_CUDA
#include "core/cuda/model_and_driver.h"
#endif

namespace elastron::launch {

namespace {

using self_check::Finding;
using self_check::Findings;
using self_check::FindingsCache;
using self_check::Verdict;

struct Place {
  int gpu = 0;
  std::string model;  // of the GPU, and its driver; empty: this rank has none
};

Place place_of([[maybe_unused]] Device& device) {
#if ELASTRON_WITH_CUDA
  if (device.kind() == DeviceKind::cuda) {
    const auto& gpu = static_cast<const cuda::CudaDevice&>(device);
    return {.gpu = gpu.ordinal(), .model = cuda::model_and_driver(gpu)};
  }
#endif
  return {};
}

std::string host_name() {
  std::array<char, 256> name{};
  gethostname(name.data(), name.size() - 1);
  return name.data();
}

// Of the program as it runs, so that a rebuilt one is another.
std::string build_id() {
  const InputFile program("/proc/self/exe");
  std::vector<std::byte> bytes(program.size());
  program.read_at(0, bytes);
  return checksum(std::span<const std::byte>(bytes));
}

// One rank checks for all that are on the same machine with the same model.
bool speaks_for(const std::vector<std::string>& places, int rank) {
  const auto first = std::ranges::find(places, places[size_t(rank)]);
  return first - places.begin() == rank;
}

const char* in_words(Verdict verdict) {
  switch (verdict) {
    case Verdict::agrees: return "agree";
    case Verdict::differs: return "compute something else";
    case Verdict::failed: return "fail";
    case Verdict::hung: return "hang";
    case Verdict::unchecked: break;
  }
  return "were not checked";
}

// What one rank, or all of them, has found.
struct Outcome {
  Findings findings;
  int checked = 0, remembered = 0;

  std::string text() const {
    return nlohmann::json{{"findings", self_check::to_json(findings)},
                          {"checked", checked},
                          {"remembered", remembered}}
        .dump();
  }
};

}  // namespace

double SelfCheck::seconds_of_a_check() {
  constexpr double kSeconds = 30;
  const char* value = std::getenv("ELASTRON_SELF_CHECK_SECONDS");
  const double asked = value != nullptr ? std::atof(value) : 0;
  return asked > 0 ? asked : kSeconds;
}

// The same on every rank.
void SelfCheck::act_on(const Findings& findings) {
  parallel::on_all_ranks(everyone_, [&] {
    for (const Finding& f : findings) {
      if (f.family || !f.bad() || everyone_.rank() != 0) continue;
      throw NumericalError(fmt::format("this GPU's results are wrong: {}: the kernels {} ({})",
                                       f.check, in_words(f.verdict), f.detail),
                           "device.self_check",
                           "use another GPU or driver, or set device: cpu; off runs all the same");
    }
  });
  auto& forbidden = device_.attached<ops::ForbiddenKernels>().families;
  for (const Finding& f : findings) {
    if (f.bad()) {
      forbidden.add(*f.family);
      ++forbidden_;
      log_warning(
          "self-check: {}: the kernels {} ({}); they are not used, the next slower way is "
          "(device.self_check=full checks again)",
          f.check, in_words(f.verdict), f.detail);
    } else if (f.verdict == Verdict::unchecked) {
      log_warning("self-check: {}: the kernels {}: {}", f.check, in_words(f.verdict), f.detail);
    }
  }
}

std::string SelfCheck::summary() const {
  if (checked_ + remembered_ == 0) return "";
  std::string text;
  if (checked_ > 0) {
    text = fmt::format("{} of kernels made in {:.1f} s", plural(checked_, "check"), seconds_);
  }
  if (remembered_ > 0) {
    text +=
        fmt::format("{}{} known for this GPU model, driver and build{}", text.empty() ? "" : ", ",
                    plural(remembered_, "result"), kept_in_.empty() ? "" : " (" + kept_in_ + ")");
  }
  text += others_;
  return text + (forbidden_ > 0 ? fmt::format("; {} not used", forbidden_) : "; all are used");
}

void SelfCheck::check(const train::Config& config, bool trains) {
  const auto begin = std::chrono::steady_clock::now();
  const auto mode = config.device.self_check;
  if (mode == train::SelfCheck::off) return;
  const Place place = place_of(device_);
  const auto places = everyone_.all_gather_host(host_name() + "|" + place.model);
  std::vector<ops::KernelCheck> checks;
  Outcome mine;
  parallel::on_all_ranks(everyone_, [&] {
    const auto use = place.model.empty() ? std::nullopt : self_check::kernel_use(config, trains);
    if (use) checks = ops::kernel_checks(*use, device_);
    std::erase_if(checks, [&](const ops::KernelCheck& c) { return known_.contains(c.name); });
    if (checks.empty() || !speaks_for(places, everyone_.rank())) return;
    const FindingsCache cache(place.model + ", build " + build_id());
    kept_in_ = cache.path();
    const Findings before = mode == train::SelfCheck::full ? Findings{} : cache.read();
    std::vector<size_t> wanted;
    for (size_t i = 0; i < checks.size(); ++i) {
      const auto found = std::ranges::find(before, checks[i].name, &Finding::check);
      if (found == before.end()) {
        wanted.push_back(i);
      } else {
        mine.findings.push_back(*found);
        ++mine.remembered;
      }
    }
    if (wanted.empty()) return;
    const Findings now = self_check::check_in_child(
        {.config = &config, .trains = trains, .gpu = place.gpu, .seconds = seconds_of_a_check()},
        checks, wanted);
    mine.checked = int(now.size());
    // What ends the run is looked at again, with all that was compared with it; and so is what
    // could not be looked at.
    Findings kept;
    if (std::ranges::none_of(now, [](const Finding& f) { return f.bad() && !f.family; })) {
      std::ranges::copy_if(now, std::back_inserter(kept),
                           [](const Finding& f) { return f.verdict != Verdict::unchecked; });
    }
    mine.findings.insert(mine.findings.end(), now.begin(), now.end());
    cache.add(kept);
  });

  // All ranks act on what any has found.
  Findings all;
  const auto outcomes = everyone_.all_gather_host(mine.text());
  for (const std::string& text : outcomes) {
    const auto other = nlohmann::json::parse(text);
    checked_ += other.at("checked").get<int>();
    remembered_ += other.at("remembered").get<int>();
    for (Finding& f : self_check::findings_of(other.at("findings"))) {
      const auto same = [&](const Finding& x) { return x.check == f.check && x.bad() == f.bad(); };
      if (std::ranges::none_of(all, same)) all.push_back(std::move(f));
    }
  }
  act_on(all);
  for (const ops::KernelCheck& c : checks) known_.insert(c.name);
  const std::chrono::duration<double> took = std::chrono::steady_clock::now() - begin;
  seconds_ += took.count();
}

}  // namespace elastron::launch
