#!/usr/bin/perl
# Submits what stands as JSON on standard input, with Net::SMTP as its manual shows it.
use strict;
use warnings;
use Authen::SASL;
use JSON::PP;
use Net::SMTP;

my $it = decode_json(do { local $/; <STDIN> });
my %tls = (SSL_ca_file => $it->{ca}, SSL_verify_mode => 1, SSL_verifycn_name => 'localhost', SSL_verifycn_scheme => 'smtp');
my $smtp = Net::SMTP->new(
    'localhost', Port => $it->{port}, Hello => 'client.example', Timeout => 60,
    $it->{tls} eq 'implicit' ? (SSL => 1, %tls) : (),
) or die "connection: $@";
$it->{tls} eq 'implicit' or $smtp->starttls(%tls) or die 'STARTTLS: ', $smtp->message;
my @login = ($it->{login}, $it->{secret});
if ($it->{mechanism}) {
    my %asked = (user => $it->{login}, authname => $it->{login}, pass => $it->{secret});
    @login = (Authen::SASL->new(mechanism => $it->{mechanism}, callback => \%asked));
}
$smtp->auth(@login) or die 'AUTH: ', $smtp->code, ' ', $smtp->message;
open my $file, '<:raw', $it->{message} or die $!;
my $message = do { local $/; <$file> };
$smtp->mail($it->{sender}, Bits => '8', Size => length $message) or die 'MAIL: ', $smtp->message;
$smtp->to($it->{recipient}) or die 'RCPT: ', $smtp->message;
$smtp->data($message) or die 'DATA: ', $smtp->message;
$smtp->quit or die 'QUIT: ', $smtp->message;
