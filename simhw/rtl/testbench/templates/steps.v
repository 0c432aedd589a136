{% extends "bench.v" %}
{% set when, who = ("cycle", "scheduler") %}
{% block body %}
  localparam OUTPUTS = {{ outputs }}, CYCLES = {{ cycles }}, DEPTH = {{ depth }}, ROWS = {{ rows }}, COLS = {{ cols }};
  localparam SCHEDULERS = {{ schedulers }}, WINDOW = DEPTH * 256;
  wire done;
  wire [{{ advance_bits - 1 }}:0] advance;
  wire [ROWS*WINDOW-1:0] x_refill;
  wire [COLS*WINDOW-1:0] y_refill;
{% if ms_bits %}
  wire [SCHEDULERS*16*{{ ms_bits }}-1:0] ms;
{% endif %}
  wire [SCHEDULERS*16-1:0] busy;
  wire [SCHEDULERS*256-1:0] x_values;
  wire [ROWS*COLS*256-1:0] y_values;

  // An output is loaded in the cycle in which the last steps of the one before it are multiplied.
  integer loaded = 0, at = 0;
  wire load = !rst && loaded < OUTPUTS && done;
  wire [63:0] coming = outputs[loaded < OUTPUTS ? loaded : 0];
  wire [31:0] refill = load ? coming[31:0] : at + DEPTH;
  genvar i, step;
  generate
    for (step = 0; step < DEPTH; step = step + 1) begin : refilled
      wire [ROWS*256-1:0] x = x_steps[refill + step];
      wire [COLS*256-1:0] y = y_steps[refill + step];
      for (i = 0; i < ROWS; i = i + 1) begin : row
        assign x_refill[(i * DEPTH + step) * 256 +: 256] = x[i * 256 +: 256];
      end
      for (i = 0; i < COLS; i = i + 1) begin : column
        assign y_refill[(i * DEPTH + step) * 256 +: 256] = y[i * 256 +: 256];
      end
    end
  endgenerate
  always @(posedge clk)
    if (load) begin
      loaded <= loaded + 1;
      at <= coming[31:0];
    end else if (!done) at <= at + advance;

  integer now = 0, which, row, column, lane, pair;
  reg [{{ memories[-1].bits - 1 }}:0] schedule;
  reg [15:0] wanted, got;
{% if ms_bits %}
  reg [3:0] option;
  reg [{{ ms_bits - 1 }}:0] chosen;
{% endif %}
  always @(posedge clk)
    if (loaded > 0) begin
      schedule = schedules[now];
      if (advance !== schedule[{{ advance_bits - 1 }}:0])
        fail(now, 0, "steps drained", schedule[{{ advance_bits - 1 }}:0], advance);
      if (done !== schedule[8]) fail(now, 0, "done", schedule[8], done);
      for (which = 0; which < SCHEDULERS; which = which + 1)
        for (lane = 0; lane < 16; lane = lane + 1) begin
          // The pair's place in the window, step * 16 + lane, and the option by which it is reached.
          pair = schedule[16 + which * 192 + lane * 8 +: 8];
          if (busy[which * 16 + lane] !== (pair != 255))
            fail(now, which, "lanes at work", pair != 255, busy[which * 16 + lane]);
{% if ms_bits %}
          option = schedule[16 + which * 192 + 128 + lane * 4 +: 4];
          chosen = ms[(which * 16 + lane) * {{ ms_bits }} +: {{ ms_bits }}];
          if (pair != 255 && chosen !== option[{{ ms_bits - 1 }}:0]) fail(now, which, "MS", option, chosen);
{% endif %}
          row = {{ "which / COLS" if two_sided else "which" }};
          wanted = 0;
          if (pair != 255) wanted = x_steps[at + pair / 16][(row * 16 + pair % 16) * 16 +: 16];
          got = x_values[(which * 16 + lane) * 16 +: 16];
          if (got !== wanted) fail(now, which, "X", wanted, got);
          if (pair != 255)
{% set columns = ("which % COLS", "which % COLS + 1") if two_sided else ("0", "COLS") %}
            for (column = {{ columns[0] }}; column < {{ columns[1] }}; column = column + 1) begin
              wanted = y_steps[at + pair / 16][(column * 16 + pair % 16) * 16 +: 16];
              got = y_values[((row * COLS + column) * 16 + lane) * 16 +: 16];
              if (got !== wanted) fail(now, which, "Y", wanted, got);
            end
        end
      now = now + 1;
      if (now == CYCLES && !failed) begin
        $display("PASS %0d {{ unit }}", CYCLES * SCHEDULERS);
        $finish;
      end
    end

  // A tile that takes nothing.
  initial begin
    #100;
    if (loaded == 0) fail(0, 0, "outputs loaded", 1, 0);
  end
{% endblock %}
