import ArgumentParser
import Pipeline

/// The command line: parsing and printing, no logic.
@main
struct Adze: ParsableCommand {
  static let configuration = CommandConfiguration(
    commandName: "adze",
    abstract: "Convert, quantize, pack, run and measure language models on a plain CPU.",
    discussion: """
      MODEL is a Hugging Face directory, a .safetensors file with config.json beside it, a .gguf file, a llama2.c .bin \
      with its vocabulary beside it, or a packed .adze file.

      A first session:
        adze inspect Calibration/Models/acorn
        adze quantize Calibration/Models/acorn -o acorn-int4 --method gptq --codec int4 --group-size 32 \\
             --corpus Calibration/Texts/calibration.txt
        adze pack acorn-int4 -o acorn-int4.adze
        adze compare Calibration/Models/acorn acorn-int4.adze --corpus Calibration/Texts/evaluation.txt
        adze run acorn-int4.adze -p "The river"

      Results go to standard output, progress and warnings to standard error. Exit status: 64 wrong usage, 65 bad \
      input, 66 missing input, 70 a bug, 73 output cannot be created, 74 reading or writing failed, 75 a limit, \
      130 and 143 interrupted.
      """,
    version: AdzeVersion.current,
    subcommands: [
      InspectCommand.self, DoctorCommand.self, ConvertCommand.self, TokenizeCommand.self,
      CalibrateCommand.self, QuantizeCommand.self,
      OptimizeCommand.self, PackCommand.self,
      VerifyCommand.self, RunCommand.self, PerplexityCommand.self, CompareCommand.self, BenchCommand.self,
      LogitsCommand.self, ArchitecturesCommand.self,
    ])

  static func main() {
    Interruption.install()
    var running: any ParsableCommand.Type = Adze.self
    do {
      var command = try parseAsRoot()
      running = type(of: command)
      try command.run()
    } catch {
      ErrorReport.exit(error, of: running)
    }
  }
}
