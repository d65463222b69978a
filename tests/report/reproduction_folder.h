// Folders of results for the tests of reproductions, small enough that every value can be worked
// out by hand.
#pragma once
#include <map>
#include <string>

#include "core/json.h"
#include "tests/support/scratch.h"

namespace elastron::test {

struct KindFigures {
  double accuracy = 0, msr = 0;
};

// A folder of results: its record at once, jobs as they are added.
class ReproductionFolder {
 public:
  ReproductionFolder();

  std::string path() const { return scratch_ / "results"; }
  // Appends the line of a job.
  void line(const nlohmann::json& job);
  // A job with the file that it names. `at` null: it has none.
  void eval(const std::string& figure, const std::string& series, const nlohmann::json& at,
            int seed, const std::map<std::string, KindFigures>& kinds,
            const nlohmann::json& more = nlohmann::json::object());
  void cost(const std::string& series, int tokens, int seed, const nlohmann::json& figures);
  void reward(const std::string& series, int seed, double accuracy);
  void run(const std::string& series, double at, int seed, const std::string& metrics);
  // jobs.jsonl gets exactly these bytes behind what is there.
  void append(const std::string& bytes);
  // A file below the folder.
  void write(const std::string& name, const std::string& bytes);

 private:
  nlohmann::json job(const std::string& figure, const std::string& series, const nlohmann::json& at,
                     int seed, const std::string& of) const;

  Scratch scratch_;
  std::string lines_;
};

// One sensitive kind (needle) and one robust kind (gist).
std::map<std::string, KindFigures> two_kinds(double needle, double gist, double needle_msr,
                                             double gist_msr);

// With a job of every figure: the values that reproduction_test.cpp works out.
void fill(ReproductionFolder& folder);

}  // namespace elastron::test
