// What every family of models has to do through the real program.
#pragma once
#include <string>
#include <vector>

#include "tests/launch/program.h"

namespace elastron::test {

// The command that trains `model` by tests/launch/<config>.yaml into `folder`.
std::string train_command(const std::string& config, const std::string& model,
                          const std::string& folder, const std::string& more = "");

struct Layout {
  int ranks;
  const char* sets;
};
// Tensor and context ranks; and split rows, with everything computed again.
extern const std::vector<Layout> kFamilyLayouts;

// The curve of one rank on all of them, to 1e-5.
void expect_same_on_layouts(const std::string& config, const std::string& model,
                            const std::string& common, const std::vector<Layout>& layouts);

// Four pairs of a benchmark for reward models, in a folder that it makes.
void make_benchmark(const std::string& folder);
// What `eval-reward` wrote to the folder: of each row both scores.
std::vector<double> row_scores(const std::string& folder);

// Adapters are trained beside `backbone`, merged into its weights, and the folder is a classifier's
// of that name, with the same scores.
void expect_exported_classifier(const std::string& backbone, const std::string& architecture,
                                const std::string& settings_of_run);

}  // namespace elastron::test
