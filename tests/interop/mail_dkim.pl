# Verify the signatures of example.org in mails with Mail::DKIM; the keys come from a file instead of the DNS.
# Prints a line for each: the mail, a tab, algorithm and result.
use strict;
use warnings;
use Mail::DKIM::Verifier;
use Net::DNS;

my %keys;
my $list = shift;
open my $file, '<', $list or die "$list: $!";
while (<$file>) { chomp; my ($name, $text) = split / /, $_, 2; $keys{ lc $name } = $text }

no warnings 'redefine';
*Mail::DKIM::DNS::query = sub {
    my ($name, $type) = @_;
    my $text = $keys{ lc $name };
    return unless defined $text;
    return Net::DNS::RR->new(name => $name, type => 'TXT', txtdata => [ $text =~ /(.{1,255})/g ]);
};

for my $path (@ARGV) {
    my $verifier = Mail::DKIM::Verifier->new;
    open my $mail, '<:raw', $path or die "$path: $!";
    my $octets;
    $verifier->PRINT($octets) while read $mail, $octets, 65536;
    $verifier->CLOSE;
    for my $signature ($verifier->signatures) {
        next unless $signature->domain eq 'example.org';
        print "$path\t", $signature->algorithm, ' ', $signature->result_detail, "\n";
    }
}
